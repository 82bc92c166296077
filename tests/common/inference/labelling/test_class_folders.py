"""The names of class folders, and that training takes the folder as it is."""

from pathlib import Path

from fedshelf.common.images.folder.scan import scan
from fedshelf.common.inference.labelling.class_folders import folder_names, plan
from fedshelf.common.inference.labelling.guesses import Guess
from fedshelf.common.inference.labelling.placements import carry_out


def test_each_class_has_a_folder_that_every_disk_allows() -> None:
    names = folder_names(["Hat", "hat", "a/b", "..", "con", "Unlabelled", "x" * 300, "ends. "])
    assert list(names.values()) == [
        "Hat",
        "hat-2",
        "a_b",
        "__",
        "con_",
        "Unlabelled_",
        "x" * 200,
        "ends_",
    ]


def test_training_takes_the_folder_as_it_is(tmp_path: Path) -> None:
    guesses = []
    for folder, verdict in (("a", "sure"), ("b", "sure"), ("c", "unsure"), ("d", "unknown")):
        path = tmp_path / "shop" / folder / "1.jpg"
        path.parent.mkdir(parents=True)
        path.write_text(folder, encoding="utf-8")
        guesses.append(Guess(f"shop/{folder}/1.jpg", path, verdict, "hat", 0.9))
    carry_out(plan(guesses, ["hat", "shirt"], tmp_path / "sorted", "link"))
    found = scan(tmp_path / "sorted")
    assert [(photo.name, photo.label) for photo in found.photos] == [
        ("hat/1-2.jpg", "hat"),
        ("hat/1.jpg", "hat"),
    ]
    assert [photo.name for photo in found.unlabelled] == [
        "unlabelled/unknown/1.jpg",
        "unlabelled/unsure/1.jpg",
    ]
