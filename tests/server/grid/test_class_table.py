"""The table of the stores' classes, shown before round 1."""

import pytest

from fedshelf.common.config import resolve
from fedshelf.common.errors import DataError
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.grid.class_table import lines, recounted
from fedshelf.server.training.setup import agree_on_classes


def stores(**counts: dict[str, int]) -> dict[str, StoreInfo]:
    return {name: StoreInfo(name, of, 1, 1) for name, of in counts.items()}


CHAIN = stores(
    oslo={"bag": 4, "hat": 9}, paris={"bag": 2, "hat": 1}, rome={"hat": 3, "old stuff": 2}
)


def test_the_union_is_told_with_who_brings_what() -> None:
    config = resolve()
    classes = agree_on_classes(config, CHAIN).classes
    assert lines(config, classes, CHAIN, {}) == [
        "3 classes: bag (oslo, paris); hat (all 3 stores); old stuff (rome).",
        (
            "Only one store has 'old stuff' (rome): if such a folder is there by mistake, stop the"
            " run and move the folder away at its store, or start with --classes, which lets no"
            " store bring other classes."
        ),
    ]


def test_where_classes_are_given_others_are_named_and_take_no_part() -> None:
    config = resolve({"data.classes": ["hat", "bag", "umbrella"]})
    classes = agree_on_classes(config, CHAIN).classes
    assert lines(config, classes, CHAIN, {}) == [
        "3 classes: hat (all 3 stores); bag (oslo, paris); umbrella (nobody).",
        (
            "rome has 'old stuff' (2 photos), none of the run's classes: it takes no part until"
            " that folder is renamed or moved away there, or the class is among those of a new run."
        ),
        "No connected store has photos of 'umbrella' to train on.",
    ]


def test_one_store_alone_brings_what_it_has() -> None:
    one = stores(oslo={"bag": 4, "hat": 0})
    assert lines(resolve(), ("bag", "hat"), one, {}) == [
        "2 classes: bag, hat (oslo).",
        "No connected store has photos of 'hat' to train on.",
    ]


def test_a_class_spelt_differently_at_two_stores_stops_the_run_unless_merged() -> None:
    mixed = stores(oslo={"Hat": 4, "bag": 1}, rome={"hat": 9, "bag": 1, "HAT ": 2})
    with pytest.raises(DataError, match=r"'HAT ' \(rome\) and 'Hat' \(oslo\) and 'hat' \(rome\)"):
        agree_on_classes(resolve(), mixed)
    assert agree_on_classes(resolve({"data.classes": "Hat,hat,bag"}), mixed).classes == (
        "Hat",
        "hat",
        "bag",
    )
    config = resolve({"data.merge_spellings": "true"})
    classes = agree_on_classes(config, mixed).classes
    assert classes == ("bag", "hat")
    assert recounted(mixed["rome"], classes).counts == {"hat": 11, "bag": 1}
    assert lines(config, classes, mixed, {}) == ["2 classes: bag, hat (all 2 stores)."]


def test_numbers_stand_in_their_order_and_names_of_products_beside_their_folders() -> None:
    chain = stores(oslo={"10": 4, "9": 9}, rome={"9": 3, "2": 2})
    classes = agree_on_classes(resolve(), chain).classes
    assert classes == ("10", "2", "9")
    assert lines(resolve(), classes, chain, {"10": "Chair"}) == [
        "3 classes: 2 (rome); 9 (all 2 stores); Chair (oslo).",
        (
            "Only one store has '10' = Chair (oslo), '2' (rome): if such a folder is there by"
            " mistake, stop the run and move the folder away at its store, or start with --classes,"
            " which lets no store bring other classes."
        ),
    ]
