"""What a comparison says in words: the answer, and whatever is not as one would expect."""

from typing import Any

import pytest

from simulations.compare.words import headline, of_store, points


def gain(points: float, margin: float = 3.0) -> dict[str, float]:
    return {"points": points, "margin": margin}


def verdict(federated: float, tuned: float | None = None, pooled: float = 9.0) -> dict[str, Any]:
    """Gains over training alone at .60, in points; all stores gain as much."""
    kinds = {"alone": 0.0, "federated": federated, "pooled": pooled} | ({} if tuned is None else {"fine-tuned": tuned})
    store = {
        "held_out": 80,
        "models": {kind: {"accuracy": 0.6 + value / 100} for kind, value in kinds.items()},
        "gain": {kind: gain(value) for kind, value in kinds.items() if kind != "alone"},
    }
    return {
        "stores": {"oslo": store, "rome": store},
        "average": {kind: {"accuracy": 0.6 + value / 100} for kind, value in kinds.items()},
        "gains": {
            kind: {other: gain(value - less) for other, less in kinds.items() if other != kind}
            for kind, value in kinds.items()
        },
        "budget": {"fine_tuning": {"epochs": 2, "lr": 0.01}},
    }


@pytest.mark.parametrize(
    ("found", "first"),
    [
        (verdict(5.0), "Joining pays: on average over 2 stores, the federated model is right on 65.0%"),
        (verdict(2.5), "Joining makes no clear difference: "),
        (verdict(-2.5), "Federated is not better than alone here: "),
        (verdict(-8.0, tuned=1.0), "Federated is not better than alone here: "),
        (verdict(-8.0, tuned=6.0), "Joining pays only with fine-tuning; by itself, federated is not better than alone"),
    ],
)
def test_the_answer_comes_first(found: dict[str, Any], first: str) -> None:
    assert headline(found)[0].startswith(first)


def test_counts_the_stores_that_gain_for_sure() -> None:
    assert headline(verdict(5.0))[1] == "With it as it is, 2 stores of 2 would clearly gain and 0 clearly lose."
    assert headline(verdict(-5.0))[1] == "With it as it is, 0 stores of 2 would clearly gain and 2 clearly lose."


def test_pooling_that_does_not_help_is_said_plainly() -> None:
    assert "not better than federated here: 64.0%: 1 point less" in headline(verdict(5.0, pooled=4.0))[-1]
    assert "pooled in one place would reach 69.0%: 4 points more" in headline(verdict(5.0, pooled=9.0))[-1]


def test_all_classes_are_told_where_the_server_has_images() -> None:
    found = verdict(5.0) | {
        "server": {kind: {"accuracy": value} for kind, value in (("alone", 0.3), ("federated", 0.7))}
    }
    told = headline(found | {"judged_on": {"server_images": 400}})[2]
    assert told == (
        "Of the server's 400 test images of all classes, the federated model has 70.0% right, a store's own model 30.0%"
        " on average."
    )


def test_a_store_in_one_sentence() -> None:
    store = verdict(12.0)["stores"]["oslo"]
    assert (
        of_store("oslo", store)
        == "oslo would gain 12 points by joining: 60.0% right alone, 72.0% federated, of 80 images."
    )
    store = verdict(-2.0, tuned=9.0)["stores"]["oslo"]
    assert of_store("oslo", store) == (
        "oslo would lose 2 points by joining (which may be chance), but gain 9 points with the model fine-tuned on its"
        " own images: 60.0% right alone, 58.0% federated, 69.0% fine-tuned, of 80 images."
    )
    assert "oslo would neither gain nor lose by joining (which may be chance)" in of_store(
        "oslo", verdict(0.0)["stores"]["oslo"]
    )


def test_a_store_without_images_and_one_with_a_name_that_steers_terminals() -> None:
    assert "nothing to judge it by" in of_store("oslo", {"gain": {"federated": None}, "models": {}})
    assert "\x1b" not in of_store("\x1b[31moslo", verdict(1.0)["stores"]["oslo"])


@pytest.mark.parametrize(
    ("value", "words"),
    [(12.3, "12 points"), (-2.0, "2 points"), (1.04, "1 point"), (-0.52, "0.5 points"), (0.0, "0 points")],
)
def test_points(value: float, words: str) -> None:
    assert points(value) == words
