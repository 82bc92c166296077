import os
import unicodedata
from pathlib import Path

import pytest
import torch

from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.photo_folder import PhotoFolder, open_folder, relabel
from tests.helpers.photo_files import encoded, noise, save, store


def opened(path: Path) -> PhotoFolder:
    return open_folder(path, image_size=8, channels=3)


def sizes(folder: PhotoFolder) -> dict[str, int]:
    return {split: len(images) for split, images in folder.splits.items()}


def total(folder: PhotoFolder) -> int:
    return sum(sizes(folder).values())


def all_labels(folder: PhotoFolder) -> list[int]:
    return next(iter(folder.splits.values())).labels.tolist()


def all_pixels(folder: PhotoFolder) -> torch.Tensor:
    return next(iter(folder.splits.values())).inputs


def contents(folder: PhotoFolder) -> dict[str, set[bytes]]:
    """The pictures of each split."""
    return {
        split: {image.numpy().tobytes() for image in s.inputs[s.rows]}
        for split, s in folder.splits.items()
    }


def test_a_folder_of_classes(tmp_path: Path) -> None:
    folder = opened(store(tmp_path / "store", {"shoes": 3, "hats": 2}))
    assert folder.classes == ("hats", "shoes")
    assert all_labels(folder) == [0, 0, 1, 1, 1]
    assert all_pixels(folder).shape == (5, 8, 8, 3)
    assert folder.left_out == ()
    rows = torch.cat([images.rows for images in folder.splits.values()])
    assert sorted(rows.tolist()) == [0, 1, 2, 3, 4]


def test_a_person_s_disk(tmp_path: Path) -> None:
    root = store(tmp_path / "my store", {"T-shirts, new": 2})
    save(root / "Mützen" / "größe 1.JPG", noise(10))
    save(root / "帽子" / "deep" / "deeper" / "x.webp", noise(11), lossless=True)
    (root / "Mützen" / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (root / "Mützen" / "Thumbs.db").write_bytes(b"x")
    (root / "Mützen" / "._größe 1.JPG").write_bytes(b"x")
    (root / "__MACOSX" / "Mützen").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / "desktop.ini").write_text("x")
    folder = opened(root)
    assert folder.classes == ("Mützen", "T-shirts, new", "帽子")
    assert total(folder) == 4
    assert folder.left_out == ()


def test_what_cannot_be_used_is_left_out_and_named(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"shoes": 12})
    (root / "shoes" / "cut.jpg").write_bytes(encoded(noise(1, 200, 200), "JPEG")[:3000])
    (root / "shoes" / "notes.jpg").write_text("milk, bread")
    (root / "shoes" / "nothing.png").touch()
    (root / "hats").mkdir()
    (root / "bags").mkdir()
    (root / "bags" / "bag.png").write_text("no photo either")
    (root / "readme.txt").write_text("x")
    (root / "shoes" / "gone.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(root / "shoes" / "pipe.jpg")
    folder = opened(root)
    assert folder.classes == ("shoes",)
    assert dict(folder.left_out) == {
        "bags": "empty class",
        "bags/bag.png": "not an image",
        "hats": "empty class",
        "readme.txt": "not in a class folder",
        "shoes/cut.jpg": "truncated",
        "shoes/gone.jpg": "a link that leads nowhere",
        "shoes/nothing.png": "empty file",
        "shoes/notes.jpg": "not an image",
        "shoes/pipe.jpg": "not a file",
    }
    assert opened(root).left_out == folder.left_out
    assert all_labels(folder) == [0] * 12


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders_are_named(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"shoes": 3, "hats": 1})
    (root / "shoes" / "001.png").chmod(0)
    (root / "hats").chmod(0)
    reasons = dict(opened(root).left_out)
    (root / "hats").chmod(0o700)
    assert reasons["shoes/001.png"] == "unreadable: Permission denied"
    assert reasons["hats"] == "unreadable folder: Permission denied"


def test_the_summary_names_ten_and_counts_the_rest(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"shoes": 1})
    (root / "shoes" / "copy.png").write_bytes((root / "shoes" / "000.png").read_bytes())
    for number in range(13):
        (root / "shoes" / f"x{number:02}.jpg").touch()
    (root / "shoes" / "y.jpg").write_text("text")
    folder = opened(root)
    where = next(split for split, count in sizes(folder).items() if count)
    parts = ", ".join(f"{2 if split == where else 0} {split}" for split in sizes(folder))
    names = ", ".join(f"shoes/x{number:02}.jpg (empty file)" for number in range(10))
    assert folder.duplicates == 1
    assert (
        folder.summary() == f"2 images in 1 class ({parts}); 1 of them a copy of another; "
        f"left out 14: {names} and 4 more: 3 empty file, 1 not an image."
    )


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("TRAIN", "dev", "eval"),
        ("train", "Validation", "Evaluation"),
    ],
)
def test_given_splits_are_kept(tmp_path: Path, train: str, validation: str, test: str) -> None:
    root = tmp_path / "store"
    for first, (split, classes) in enumerate(
        {train: {"a": 4, "b": 3}, validation: {"a": 2}, test: {"b": 1, "c": 1}}.items()
    ):
        store(root / split, classes, 100 * first)
    (root / "LICENSE").write_text("x")
    folder = opened(root)
    assert sizes(folder) == {"train": 7, "validation": 2, "test": 2}
    assert folder.classes == ("a", "b", "c")
    assert folder.splits["test"].targets().tolist() == [1, 2]
    assert dict(folder.left_out) == {"LICENSE": "not in train, validation or test"}
    assert folder.given_splits == {"train", "validation", "test"}
    assert folder.untrained_classes() == ("c",)
    assert (
        "; nothing to train on, only images held out, of c; left out 1: LICENSE" in folder.summary()
    )


def test_validation_is_carved_from_train_if_there_is_none(tmp_path: Path) -> None:
    store(tmp_path / "store" / "train", {"a": 60})
    store(tmp_path / "store" / "test", {"a": 5}, 100)
    folder = opened(tmp_path / "store")
    assert folder.splits["test"].rows.tolist() == [0, 1, 2, 3, 4]  # "test" sorts before "train"
    assert sizes(folder)["train"] + sizes(folder)["validation"] == 60
    assert sizes(folder)["validation"] == 6


def test_train_and_validation_without_test_leave_test_empty(tmp_path: Path) -> None:
    store(tmp_path / "store" / "train", {"a": 30})
    store(tmp_path / "store" / "val", {"a": 3}, 100)
    assert sizes(opened(tmp_path / "store")) == {"train": 30, "validation": 3, "test": 0}


def test_links_are_followed(tmp_path: Path) -> None:
    elsewhere = store(tmp_path / "elsewhere", {"boots": 2})
    root = store(tmp_path / "store", {"shoes": 1})
    (root / "boots").symlink_to(elsewhere / "boots", target_is_directory=True)
    (root / "shoes" / "linked.png").symlink_to(save(tmp_path / "photo.png", noise(50)))
    link = tmp_path / "link"
    link.symlink_to(root, target_is_directory=True)
    for path in (root, link):
        folder = opened(path)
        assert folder.classes == ("boots", "shoes")
        assert all_labels(folder) == [0, 0, 1, 1]


@pytest.mark.timeout(20)
def test_loops_of_links_end(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"shoes": 2})
    (root / "shoes" / "again").symlink_to("..", target_is_directory=True)
    (root / "all").symlink_to(".", target_is_directory=True)
    (root / "shoes" / "itself").symlink_to("itself")
    for number in range(12):  # each links to all: there are 12! ways through
        (root / "maze" / str(number)).mkdir(parents=True)
        for other in range(12):
            (root / "maze" / str(number) / f"to {other}").symlink_to(
                f"../{other}", target_is_directory=True
            )
    save(root / "maze" / "7" / "cheese.png", noise(70))
    folder = opened(root)
    assert folder.classes == ("maze", "shoes")
    assert total(folder) == 3
    (everything, reason), (itself, loop) = folder.left_out
    assert (everything, reason, itself) == ("all", "empty class", "shoes/itself")
    assert loop.startswith("unreadable: ")


def test_names_are_the_same_in_both_unicode_forms(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        save(tmp_path / form / unicodedata.normalize(form, "Röcke") / "é.png", noise(1))
        save(tmp_path / form / unicodedata.normalize(form, "Röcke") / "f.png", noise(2))
    composed, decomposed = (opened(tmp_path / form) for form in ("NFC", "NFD"))
    assert composed.classes == decomposed.classes == ("Röcke",)
    assert torch.equal(all_pixels(composed), all_pixels(decomposed))


def test_a_name_that_is_not_utf8_does_no_harm(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"shoes": 1})
    (root / "shoes" / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(noise(3), "PNG"))
    (root / "shoes" / os.fsdecode(b"th\xe9.png")).write_text("x")
    folder = opened(root)
    assert total(folder) == 2
    assert folder.left_out == (("shoes/th\ufffd.png", "not an image"),)


def test_the_order_does_not_depend_on_the_file_system(tmp_path: Path) -> None:
    names = ["b.png", "a.png", "B.png", "10.png", "9.png"]
    for place, order in {"one": names, "two": names[::-1]}.items():
        for name in order:
            save(tmp_path / place / "x" / name, noise(names.index(name)))
    one = opened(tmp_path / "one")
    two = opened(tmp_path / "two")
    assert torch.equal(all_pixels(one), all_pixels(two))
    assert all(torch.equal(one.splits[split].rows, two.splits[split].rows) for split in one.splits)


def test_other_classes_move_no_photo_and_copies_stay_together(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"shoes": 60})
    before = {
        split: {image.numpy().tobytes() for image in s.inputs[s.rows]}
        for split, s in opened(root).splits.items()
    }
    store(root, {"boots": 30, "a first class": 30}, first_seed=1000)
    for number in range(60):
        save(root / "zzz" / f"{number}.png", noise(number))  # copies, in another class
    folder = opened(root)
    assert folder.duplicates == 60
    after = contents(folder)
    assert all(before[split] <= after[split] for split in before)
    assert not after["train"] & (after["validation"] | after["test"])


@pytest.mark.parametrize("header", ["", "image,label\n", "\ufeffImage, Label\r\n"])
def test_a_csv_file(tmp_path: Path, header: str) -> None:
    store(tmp_path / "photos", {"any": 3})
    save(tmp_path / "more photos" / "ü, 1.png", noise(40))
    table = tmp_path / "labels.csv"
    table.write_text(
        header
        + 'photos/any/000.png,shoes\nphotos/any/001.png, hats\n\n"more photos/ü, 1.png",hats\n'
        f"{tmp_path}/photos/any/002.png,shoes\nphotos/gone.png,shoes\nphotos/any/000.png,\n"
    )
    folder = opened(table)
    assert folder.classes == ("hats", "shoes")
    assert sorted(all_labels(folder)) == [0, 0, 1, 1]
    assert dict(folder.left_out) == {
        "photos/gone.png": "no such file",
        "photos/any/000.png": "no label",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image\na.png\n", "has the columns image: none of labels; expected one of images"),
        (b"a.png,x\nb.png,y,z\n", "line 2 has 3 values: 'b.png,y,z'; expected two"),
        (b"a.png,H\x81te\n", "neither UTF-8, UTF-16 nor Windows-1252; save it as CSV \\(UTF-8\\)"),
        (b"", "No usable image in .*labels.csv: .*found nothing"),
        (b"gone.png,x\n", "found 2: gone.png \\(no such file\\), x \\(empty class\\)"),
    ],
)
def test_a_csv_file_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(table)


def test_nothing_usable_says_what_was_expected_and_found(tmp_path: Path) -> None:
    root = tmp_path / "store"
    with pytest.raises(
        DataError, match="store does not exist; expected a folder with one sub-folder per"
    ):
        opened(root)
    root.mkdir()
    with pytest.raises(
        DataError, match=r"No usable image in .*store: .* store/shirt/1\.jpg.*; found nothing"
    ):
        opened(root)
    save(root / "1.jpg", noise(1))
    with pytest.raises(DataError, match=r"found 1: 1.jpg \(not in a class folder\)"):
        opened(root)
    with pytest.raises(DataError, match=r"1\.jpg is neither a folder nor a CSV file"):
        opened(root / "1.jpg")


def test_relabel_maps_to_the_run_s_order(tmp_path: Path) -> None:
    folder = opened(store(tmp_path / "store", {"hats": 2, "Röcke": 1}))
    assert folder.classes == ("Röcke", "hats")
    assert all_labels(folder) == [0, 1, 1]
    run = ("shoes", "hats", unicodedata.normalize("NFD", "Röcke"))
    mapped = relabel(folder, run)
    assert mapped.classes == run
    assert all_labels(mapped) == [2, 1, 1]
    assert all_pixels(mapped) is all_pixels(folder)


def test_an_unknown_class_is_named_with_the_nearest(tmp_path: Path) -> None:
    folder = opened(store(tmp_path / "store", {"Shoe": 1, "hats": 1}))
    with pytest.raises(
        DataError, match="Class 'Shoe' is not one of the run's 2 classes; the nearest is 'shoes'"
    ):
        relabel(folder, ("hats", "shoes"))
    with pytest.raises(
        DataError, match=r"Class 'Shoe' .* they are hats, bags\. Rename or move that folder"
    ):
        relabel(folder, ("hats", "bags"))
