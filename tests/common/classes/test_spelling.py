"""One product under one name, however people type it."""

import unicodedata

import pytest

from fedshelf.common.classes.spelling import (
    choose_spellings,
    class_indices,
    normalize_name,
    reading_order,
)
from fedshelf.common.errors import DataError

DECOMPOSED = unicodedata.normalize("NFD", "Röcke")


@pytest.mark.parametrize("other", ["Hat", "hat ", " HAT", "ｈａｔ", "hat\u00a0"])
def test_spellings_of_one_name(other: str) -> None:
    assert normalize_name(other) == normalize_name("hat") == "hat"


@pytest.mark.parametrize(
    ("one", "other"),
    [("Röcke", DECOMPOSED), ("T  shirt", "t shirt"), ("Straße", "STRASSE"), ("a\tb", "A b")],
)
def test_other_spellings(one: str, other: str) -> None:
    assert normalize_name(one) == normalize_name(other)


@pytest.mark.parametrize(
    ("one", "other"), [("hat", "hats"), ("tshirt", "t shirt"), ("Rocke", "Röcke"), ("5", "6")]
)
def test_different_names(one: str, other: str) -> None:
    assert normalize_name(one) != normalize_name(other)


def test_several_spellings_are_named_with_their_stores() -> None:
    owners = {"oslo": {"Hat": 3, "bag": 1}, "rome": {"hat ": 5}, "paris": {"hat ": 1, "bag": 2}}
    with pytest.raises(DataError) as error:
        choose_spellings(owners, merge=False)
    told = (
        "One class is spelt in several ways: 'Hat' (oslo) and 'hat ' (rome, paris); expected one"
        " spelling: "
    )
    assert str(error.value).startswith(told)
    with pytest.raises(DataError, match=r"'Hat' \(the model to go on from\) and 'hat' \(oslo\)"):
        choose_spellings({"oslo": {"hat": 3}}, ["Hat"], merge=False)


def test_merging_takes_the_spelling_with_the_most_images() -> None:
    owners = {"oslo": {"Hat": 3, "bag": 1}, "rome": {"hat ": 5}, "paris": {"Hat": 1, "HAT": 1}}
    assert choose_spellings(owners, merge=True) == {"hat": "hat ", "bag": "bag"}
    assert choose_spellings({"a": {"hat": 2}, "b": {"Hat": 2}}, merge=True) == {"hat": "Hat"}
    assert choose_spellings(owners, ["HAT"], merge=True) == {"hat": "HAT", "bag": "bag"}


def test_places_are_exact_unless_merged() -> None:
    wanted = ["hat", "Hat", "Röcke"]
    assert class_indices(["Hat", "HAT", DECOMPOSED], wanted, merge=False) == {
        "Hat": 1,
        DECOMPOSED: 2,
    }
    assert class_indices(["Hat", "HAT", "bag"], wanted, merge=True) == {"Hat": 1, "HAT": 0}


def test_names_are_read_by_the_numbers_in_them_unless_somebody_chose_their_order() -> None:
    gathered = sorted(["class 10", "class 9", "2", "10", "Box", "box 2", "1"])
    in_order = ["1", "2", "10", "Box", "box 2", "class 9", "class 10"]
    assert [gathered[place] for place in reading_order(gathered)] == in_order
    assert reading_order(["hat", "bag 10", "bag 9"]) == [0, 1, 2]
    assert reading_order(["12", "2", "101"]) == [1, 0, 2]
    assert reading_order([]) == []
