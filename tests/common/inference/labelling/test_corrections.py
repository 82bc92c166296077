"""A label finds its photo, or is told why not; never another one."""

from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.labelling.corrections import LabelledPhoto, find_photos
from fedshelf.common.inference.labelling.guesses import NamedLabels

HAT = frozenset({"hat"})


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for name in ("a/1.jpg", "b/1.jpg", "b/2.jpg"):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path / "shop"


@pytest.mark.parametrize(
    "name", ["2.jpg", "b/2.jpg", "shop/b/2.jpg", "elsewhere/b/2.jpg", "b\\2.jpg"]
)
def test_a_photo_is_found_by_the_end_of_its_path(name: str, shop: Path) -> None:
    assert find_photos([NamedLabels(name, HAT)], shop, []) == [
        LabelledPhoto(shop / "b/2.jpg", "hat")
    ]


def test_a_name_of_two_photos_is_refused(shop: Path) -> None:
    with pytest.raises(DataError, match=r"1\.jpg may be"):
        find_photos([NamedLabels("1.jpg", HAT)], shop, [])


def test_another_folder_of_the_same_name_is_not_taken(shop: Path) -> None:
    left_out: list[tuple[str, str]] = []
    assert find_photos([NamedLabels("c/2.jpg", HAT)], shop, left_out) == []
    assert left_out == [("c/2.jpg", f"not in {shop}")]


def test_two_names_with_other_labels_for_one_photo_are_refused(shop: Path) -> None:
    named = [NamedLabels("b/2.jpg", HAT), NamedLabels("2.jpg", frozenset({"boot"}))]
    with pytest.raises(DataError, match="different labels"):
        find_photos(named, shop, [])


def test_photos_without_one_label_are_left_out(shop: Path) -> None:
    named = [
        NamedLabels("a/1.jpg", frozenset()),
        NamedLabels("b/1.jpg", frozenset({"hat", "boot"})),
        NamedLabels("b/2.jpg", frozenset({"new\nline"})),
    ]
    left_out: list[tuple[str, str]] = []
    assert find_photos(named, shop, left_out) == []
    assert [reason for _, reason in left_out] == [
        "no label",
        "2 labels: boot, hat",
        "not a name of a class",
    ]
