"""The list of a folder's photos is made anew only when it would be another."""

import time
from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import SETTLED_NS
from fedshelf.common.images.folder.photo_index import PhotoIndex
from fedshelf.common.images.folder.scan import scan
from tests.helpers.deployed import wait_for


def draw(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"a photo, for all that a list of names knows")
    return folder


def settle(folder: Path) -> None:
    """Wait until a later change of any file must show in its times."""
    newest = max(path.stat().st_ctime_ns for path in folder.glob("*/*"))
    wait_for(lambda: time.time_ns() - newest > SETTLED_NS)


def test_the_list_is_kept_while_no_file_changes(tmp_path: Path) -> None:
    folder = draw(tmp_path, "hat/1.jpg", "boot/1.jpg")
    settle(folder)
    index = PhotoIndex(folder)
    known = index.listing()
    index.look()
    assert index.listing() is known
    assert index.listing(("hat", "boot")) is known, "these names mean no split"
    draw(folder, "hat/2.jpg")
    index.look()
    assert index.listing() == scan(folder)
    assert [photo.name for photo in index.listing().photos] == [
        "boot/1.jpg",
        "hat/1.jpg",
        "hat/2.jpg",
    ]


def test_a_class_called_as_a_split_is_listed_if_it_is_known_as_a_class(tmp_path: Path) -> None:
    folder = draw(tmp_path, "train/1.jpg", "car/1.jpg")
    settle(folder)
    index = PhotoIndex(folder)
    with pytest.raises(DataError, match="has train, called like a split"):
        index.listing()
    assert index.listing(("train",)).labels == {"car", "train"}
    with pytest.raises(DataError, match="has train, called like a split"):
        index.listing()
