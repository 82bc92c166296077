import time
from collections import Counter
from pathlib import Path

import pytest

from fedshelf.client.health.evidence.near_duplicates import find_near_duplicates
from fedshelf.client.health.evidence.photos import list_photos, measure_photos
from fedshelf.client.health.folder_summary import summarize_folder
from fedshelf.client.health.run_checks import quick_check
from fedshelf.common.images.decoding.content_digests import SETTLED_NS
from fedshelf.common.images.folder.photo_folder import open_folder
from tests.helpers.deployed import wait_for
from tests.helpers.store_photos import folder, odd_folder, save, thing


def test_odd_files_are_named_and_the_rest_is_used(tmp_path: Path) -> None:
    photos = measure_photos(odd_folder(tmp_path / "shop"))
    reasons = {name.removeprefix("hat/"): reason for name, reason in photos.left_out}
    assert reasons.pop("bomb.png").startswith("too large")
    assert reasons == {
        "zero.jpg": "empty file",
        "half.jpg": "truncated",
        "text.jpg": "not an image",
        "gone.jpg": "a link that leads nowhere",
        "self.jpg": "a link that leads nowhere",
        "pipe.jpg": "not a file",
    }
    assert photos.strays == (("LICENSE", "not in a class folder"),)
    assert photos.per_class() == {"boot": 3, "hat": 7}


def test_the_same_photos_are_used_as_in_training_and_split_alike(tmp_path: Path) -> None:
    root = odd_folder(tmp_path / "shop")
    folder(root, {"coat": 60}, seed=500)
    photos = measure_photos(root)
    opened = open_folder(root, image_size=16, channels=3)
    assert tuple(photos.per_class()) == opened.classes
    splits = photos.splits()
    assert splits is not None
    total = sum(splits.values(), Counter[str]())
    assert {name: total[name] for name in opened.splits} == {
        name: len(part) for name, part in opened.splits.items()
    }


def test_progress_ends_at_the_number_of_files(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    measure_photos(
        folder(tmp_path, {"hat": 7, "boot": 5}), lambda done, total: told.append((done, total))
    )
    assert told == [(number, 12) for number in range(1, 13)]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist" in measure_photos(tmp_path / "gone").trouble
    assert "does not exist" in list_photos(tmp_path / "gone").trouble
    assert next(finding.severity for finding in quick_check(tmp_path / "gone")) == "problem"


def test_a_glance_reads_no_photo(tmp_path: Path) -> None:
    """It cannot know that these are none."""
    (tmp_path / "hat").mkdir()
    for number in range(12):
        (tmp_path / "hat" / f"{number}.jpg").write_bytes(b"\xff\xd8\xff, as a JPEG begins")
    (tmp_path / "hat" / "zero.jpg").touch()
    (tmp_path / "hat" / "text.jpg").write_text("a text")
    found = list_photos(tmp_path)
    assert len(found.usable) == 12
    assert found.splits() is None
    whats = [finding.what for finding in quick_check(tmp_path)]
    assert whats[:2] == [
        "2 files cannot be used: 1 not an image, 1 empty file.",
        'All photos are of one class, "hat".',
    ]


def test_a_glance_knows_what_was_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    root = folder(tmp_path / "shop", {"hat": 12, "boot": 12})
    save(root / "boot" / "twice.png", thing(0))
    latest = max(path.stat().st_ctime_ns for path in root.rglob("*.png"))
    # of files younger than that, no hash is remembered
    wait_for(lambda: time.time_ns() - latest > SETTLED_NS)
    assert not any("two classes" in finding.what for finding in quick_check(root))
    open_folder(root, image_size=16, channels=3)
    assert list_photos(root).splits() == measure_photos(root).splits()
    assert any("1 pair of photos in two classes" in finding.what for finding in quick_check(root))


def test_twins_are_found_through_size_and_compression(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path / "hat" / f"{number:02}.png", thing(number, 240))
    save(tmp_path / "boot" / "small.jpg", thing(4, 240).resize((150, 150)), quality=60)
    save(tmp_path / "boot" / "other.jpg", thing(99, 240), quality=60)
    pairs = [
        (one.photo.name, other.photo.name)
        for one, other in find_near_duplicates(measure_photos(tmp_path).usable)
    ]
    assert pairs == [("boot/small.jpg", "hat/04.png")]


def test_many_copies_of_a_file_are_no_twins(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "hat" / f"{number}.png", thing(1))
    assert list(find_near_duplicates(measure_photos(tmp_path).usable)) == []


def test_a_class_called_like_a_split_is_one_where_the_policy_says_so(tmp_path: Path) -> None:
    root = folder(tmp_path / "toys", {"car": 3, "train": 2})
    (tmp_path / "policy.toml").write_text('classes = ["car", "train"]')
    assert "has train, called like a split" in quick_check(root)[0].what
    assert all(
        "called like a split" not in finding.what
        for finding in quick_check(root, tmp_path / "policy.toml")
    )
    assert summarize_folder(root, ("car", "train")).startswith(
        "5 photos of 2 classes (car 3, train 2)."
    )
