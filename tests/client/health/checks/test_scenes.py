"""Checks of a folder of scenes: boxes and masks in place of classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.client.health.checks import CHECKS, classes, scenes
from fedshelf.client.health.evidence.finding import Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.photos import measure_photos
from fedshelf.client.health.evidence.server_probe import ServerProbe
from fedshelf.client.health.folder_summary import summarize_folder
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from tests.helpers.scene_files import masks_of_cvat, save_photo, save_text
from tests.helpers.store_photos import MACHINE


@pytest.fixture
def oslo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six scenes with one box each, at places of their own."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    for number in range(6):
        save_photo(tmp_path / f"oslo/images/{number}.png", 40, 40 + number)
        save_text(tmp_path / f"oslo/labels/{number}.txt", "0 0.5 0.5 0.4 0.5\n")
    return tmp_path / "oslo"


def findings(folder: Path) -> list[Finding]:
    """Those about the photos themselves: six are few, and noise is not sharp."""
    evidence = Evidence(measure_photos(folder), MACHINE)
    about = ("Every file can be used", "boxes", "box", "masks", "lass")
    return [
        finding
        for check in CHECKS
        if check.fits(evidence) and any(word in check.title for word in about)
        for finding in check.find(evidence)
    ]


def test_scenes_in_order_are_told_by_photos_and_boxes_and_split_as_in_training(oslo: Path) -> None:
    assert findings(oslo) == []
    assert summarize_folder(oslo) == "6 photos with 6 boxes (yolo)."
    opened = open_scene_folder(oslo, PixelFormat(16, 3))
    counted = measure_photos(oslo).splits()
    assert counted is not None
    for split, images in opened.images("boxes").items():
        assert counted[""][split] == len(images)


def test_odd_boxes_damaged_labels_and_photos_without_labels_are_told(oslo: Path) -> None:
    save_text(oslo / "labels/0.txt", "0 0.95 0.5 0.2 0.2\n0 1.5 0.5 0.1 0.1\n")
    save_text(oslo / "labels/1.txt", "0 0.5 half 0.1 0.1\n")
    (oslo / "labels/2.txt").unlink()
    unusable, odd = findings(oslo)
    assert unusable.severity == odd.severity == "warning"
    assert [exhibit.name for exhibit in unusable.exhibits] == ["images/1.png", "images/2.png"]
    assert odd.what == "2 boxes are odd: 1 cut at the photo's edge, 1 mostly outside the photo."


def test_labels_without_a_box_are_a_problem_and_a_few_such_photos_are_not(oslo: Path) -> None:
    for number in range(6):
        assert [finding.severity for finding in findings(oslo)] == ["warning"] * (number > 3)
        save_text(oslo / f"labels/{number}.txt", "")
    (problem,) = findings(oslo)
    assert problem.severity == "problem"
    assert "no box on any photo" in problem.what


def test_masks_of_some_photos_are_told(oslo: Path) -> None:
    (oslo / "masks").mkdir()
    Image.fromarray(np.ones((40, 40), np.uint8)).save(oslo / "masks/0.png")
    (warning,) = findings(oslo)
    assert warning.what == "5 photos of 6 have no mask, so no mask is used."


def test_masks_alone_are_noted_and_a_problem_where_the_chain_finds_boxes(oslo: Path) -> None:
    rome = oslo.parent / "rome"
    masks_of_cvat(rome, 6)
    assert summarize_folder(rome) == "6 photos with masks and no boxes, of 2 classes."
    (note,) = findings(rome)
    assert (note.severity, note.what) == ("note", "The photos have masks and no boxes.")
    for names, severity in ((("product",), "problem"), (("background", "product"), "note")):
        probe = ServerProbe("127.0.0.1:8443", classes=names)
        (finding,) = scenes.boxes(Evidence(measure_photos(rome), MACHINE, probe))
        assert finding.severity == severity


def test_photos_of_single_products_are_a_problem_where_the_chain_finds_boxes(
    tmp_path: Path,
) -> None:
    save_photo(tmp_path / "boot/1.png")
    probe = ServerProbe("127.0.0.1:8443", classes=("product",))
    (problem,) = classes.unknown(Evidence(measure_photos(tmp_path), MACHINE, probe))
    assert (problem.severity, problem.kind) == ("problem", "photos")
    assert "these photos have no boxes" in problem.what
