"""The page of a comparison, made of its numbers alone."""

import re
from typing import Any

from fedshelf.simulations.compare.page import render
from tests.helpers.comparison_results import verdict

SETTINGS: dict[str, Any] = {
    "data": {"dataset": "photos", "partition": "folder"}, "model": {"name": "cnn"},
    "strategy": {"name": "fedavg"},
}  # fmt: skip


def found(seeds: int = 3, classes: tuple[str, ...] = ("10", "2")) -> dict[str, Any]:
    """A verdict with all that the page shows; of class "10" one image of four is taken for class
    "2".
    """
    told = verdict(20.0, tuned=-20.0, seeds=seeds)
    for average in told["average"].values():
        average |= {
            "deviation": 0.01,
            "all_images": {"accuracy": 0.75, "confusion": [[3, 1], [0, 4]]},
        }
    for store in told["stores"].values():
        store |= {"images": 40, "classes": 2}
    for curve in told["curves"]["models"].values():
        curve |= {"rounds": [1, 2, 3], "accuracy": [0.2, 0.5, 0.5]}
    return told | {
        "status": "finished",
        "classes": list(classes),
        "against": {"federated": "alone", "fine-tuned": "alone-longer"},
        "judged_on": {
            "own": "each store's own test images",
            "own_images": 160,
            "server_images": None,
        },
        "seconds": 90.0,
        "parts": {"seed-0/federated": {"rounds": 3}},
    }


def test_only_clear_gains_have_a_colour() -> None:
    assert set(
        re.findall(r'<span class="(up|down|even)">', render("x", found(), SETTINGS, {}))
    ) == {"up", "down"}
    assert set(
        re.findall(r'<span class="(up|down|even)">', render("x", found(seeds=1), SETTINGS, {}))
    ) == {"even"}


def test_classes_named_by_numbers_are_in_their_order() -> None:
    page = render("x", found(), SETTINGS, {})
    assert re.findall(r'<text class="row-label"[^>]*>([^<]+)<', page)[:2] == ["class 2", "class 10"]
    assert "class 10 taken for class 2: 1 of 4 (25.0%)" in page


def test_classes_with_names_are_called_by_them_in_the_order_of_their_numbers() -> None:
    page = render("x", found(), SETTINGS, {"10": "Chair <oak>"})
    assert re.findall(r'<text class="row-label"[^>]*>([^<]+)<', page)[:2] == [
        "class 2",
        "Chair &lt;oak&gt;",
    ]
    assert "Chair &lt;oak&gt; taken for class 2: 1 of 4 (25.0%)" in page


def test_the_page_names_seeds_work_and_curves() -> None:
    page = render("x", found(), SETTINGS, {})
    assert "Federated: 4 rounds of 1 local epoch." in page
    assert "seeds 0, 1, 2" in page
    assert "Learning curves" in page
    assert "1 local epochs" not in page
    assert "± 1.0 points from seed to seed" in page
