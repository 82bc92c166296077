"""What a comparison found, in numbers: `compare.json`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from common.config import RunConfig
from common.metrics import Counts, merge
from simulations.compare.crew import SERVER, Outcome
from simulations.compare.held_out import HeldOut
from simulations.compare.judging import Gain, Judged, gain, mean_gain
from simulations.compare.parts import ALONE, FEDERATED, POOLED, TUNED, WITHOUT, Options, Part, lone_rounds
from simulations.federation import Federation

KINDS = (ALONE, FEDERATED, TUNED, POOLED)  # in the order in which they are shown

ByStore = Mapping[str, Judged]


class Found:
    """The outcomes of a finished comparison, asked for by what they are about."""

    def __init__(self, parts: Sequence[Part], outcomes: Mapping[int, Outcome], classes: int) -> None:
        self.parts = {part.name: outcomes[number] for number, part in enumerate(parts)}
        self.classes = classes
        self.stores = sorted(part.store for part in parts if part.kind == ALONE)
        kinds = {part.kind for part in parts}
        self.kinds = [kind for kind in KINDS if kind in kinds]

    def own(self, kind: str, store: str) -> Judged:
        """A store's model of a kind, on the store's own images."""
        return self._of(kind, store)[store]

    def server(self, kind: str, store: str) -> Judged | None:
        """The same on the server's test set."""
        return self._of(kind, store).get(SERVER)

    def everywhere(self, kind: str) -> Counts:
        """All stores' counts on their own images as one."""
        return merge([self.own(kind, store).counts for store in self.stores], self.classes)

    def gain(self, store: str, of: str, over: str) -> Gain | None:
        """What a store gains by a model of one kind over that of another; None without images."""
        return gain(self.own(over, store), self.own(of, store))

    def mean_gain(self, of: str, over: str) -> Gain:
        """The mean over the stores that have images to judge on."""
        gains = [self.gain(store, of, over) for store in self.stores]
        return mean_gain([each for each in gains if each is not None])

    def accuracy(self, kind: str) -> float:
        """The mean over stores of their accuracies on their own images."""
        known = [judged.counts.accuracy for store in self.stores if len((judged := self.own(kind, store)).right)]
        return sum(known) / len(known)

    def _of(self, kind: str, store: str) -> ByStore:
        name = f"{kind}/{store}" if kind in (ALONE, TUNED, WITHOUT) else kind
        return self.parts[name].judged


def verdict(
    config: RunConfig, federation: Federation, held_out: HeldOut, options: Options, found: Found
) -> dict[str, Any]:
    """All numbers of a comparison, as JSON has them; sentences are in `words`."""
    rounds = lone_rounds(config, len(found.stores))
    result: dict[str, Any] = {
        "status": "finished",
        "classes": list(federation.classes),
        "judged_on": {
            "own": held_out.told,
            "own_images": sum(map(len, held_out.own.values())),
            "server_images": None if held_out.server is None else len(held_out.server),
        },
        "budget": {
            "federated": {"rounds": config.run.rounds, "epochs": config.train.epochs},
            "alone_and_pooled": {"rounds": rounds, "epochs": config.train.epochs},
            "fine_tuning": {"epochs": options.tune_epochs, "lr": options.tune_lr},
        },
        "stores": {store: _store(found, federation, store) for store in found.stores},
        "average": {kind: _average(found, kind) for kind in found.kinds},
        "gains": {
            kind: {other: asdict(found.mean_gain(kind, other)) for other in found.kinds if other != kind}
            for kind in found.kinds
        },
    }
    if held_out.server is not None:
        judged = [kind for kind in found.kinds if found.server(kind, found.stores[0]) is not None]
        result["server"] = {kind: _server(found, kind) for kind in judged}
    result["parts"] = {
        name: {key: outcome.summary[key] for key in ("rounds", "weights_sha256", "seconds")}
        for name, outcome in found.parts.items()
    }
    return result


def _store(found: Found, federation: Federation, store: str) -> dict[str, Any]:
    table = federation.table[store]
    gains = {kind: found.gain(store, kind, ALONE) for kind in found.kinds if kind != ALONE}
    return {
        "images": sum(table),
        "classes": sum(count > 0 for count in table),
        "held_out": len(found.own(ALONE, store).right),
        "models": {kind: _described(found.own(kind, store).counts) for kind in found.kinds},
        "gain": {kind: asdict(each) if each else None for kind, each in gains.items()},
    }


def _average(found: Found, kind: str) -> dict[str, Any]:
    """accuracy: the mean of the stores'; all_images: of all stores' images as one set, with their confusion matrix."""
    return {"accuracy": found.accuracy(kind), "all_images": _described(found.everywhere(kind))}


def _server(found: Found, kind: str) -> dict[str, Any]:
    """On the server's test set; of models that each store has one of, the mean and each store's."""
    judged = {store: each for store in found.stores if (each := found.server(kind, store)) is not None}
    if kind in (ALONE, TUNED):
        accuracies = {store: each.counts.accuracy for store, each in judged.items()}
        return {"accuracy": sum(accuracies.values()) / len(accuracies), "stores": accuracies}
    return _described(next(iter(judged.values())).counts)


def _described(counts: Counts) -> dict[str, Any]:
    """Of no images there is nothing to tell."""
    told: dict[str, Any] = {"images": counts.num_examples, "confusion": counts.confusion.tolist()}
    return (counts.scalars() if counts.num_examples else {}) | told
