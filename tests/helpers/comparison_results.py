"""Results of a comparison with gains that a test chooses."""

from typing import Any


def gain(value: float, margin: float = 3.0, seeds: int = 3) -> dict[str, Any]:
    clear = abs(value) > margin if seeds > 1 else None
    return {"points": value, "margin": margin, "clear": clear, "seeds": [value] * seeds}


def verdict(
    federated: float,
    tuned: float | None = None,
    pooled: float = 9.0,
    seeds: int = 3,
    *,
    is_dealt: bool = False,
    rise: float | None = 0.0,
) -> dict[str, Any]:
    """Gains in points over training alone at .60, and of the fine-tuned model over training longer
    at .62; all stores gain as much.
    """
    kinds = {"alone": 0.0, "federated": federated, "pooled": pooled}
    kinds |= {} if tuned is None else {"alone-longer": 2.0, "fine-tuned": 2.0 + tuned}
    anew = is_dealt and seeds > 1
    told = {"federated": gain(federated, seeds=1 if anew else seeds)}
    told |= {} if tuned is None else {"fine-tuned": gain(tuned, seeds=1 if anew else seeds)}
    store = {
        "held_out": 80,
        "models": {kind: {"accuracy": 0.6 + value / 100} for kind, value in kinds.items()},
        "gain": told,
    }  # fmt: skip
    stores = {
        name: store | {"store": name, "seeds": list(range(seeds))} for name in ("oslo", "rome")
    }
    if anew:
        stores = {
            f"seed {n}, {name}": stores[name] | {"seeds": [n]}
            for n in range(seeds)
            for name in stores
        }
    return {
        "seeds": {
            "asked": list(range(seeds)),
            "done": list(range(seeds)),
            "is_dealt": is_dealt,
            "is_dealt_anew": anew,
        },
        "stores": stores,
        "average": {
            kind: {"accuracy": 0.6 + value / 100, "raw_accuracy": 0.5, "scores": ["raw"] * seeds}
            for kind, value in kinds.items()
        },
        "gains": {
            kind: {
                other: gain(value - less, seeds=seeds)
                for other, less in kinds.items()
                if other != kind
            }
            for kind, value in kinds.items()
        },
        "budget": {
            "federated": {"rounds": 4, "epochs": 1},
            "alone_and_pooled": {"rounds": 1, "epochs": 1},
            "fine_tuning": {"epochs": 0 if tuned is None else 2, "lr": 0.01},
            "patience": 0,
        },
        "curves": {
            "on": "validation",
            "models": {"federated": {"rise": rise, "still_rises": (rise or 0) >= 1}},
        },
    }
