"""Masks of a folder of scenes are opened by `flower-client check`, as training opens them."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.client.health.checks import scenes
from fedshelf.client.health.evidence.finding import Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.photos import list_photos, measure_photos
from fedshelf.client.health.evidence.server_probe import ServerProbe
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.scenes.folder.scene_folder import open_scene_folder
from tests.helpers.deployed import SCRIPTS
from tests.helpers.scene_files import masks_of_cvat, save_photo, save_text
from tests.helpers.store_photos import MACHINE

MASK = np.zeros((40, 40), np.uint8)
MASK[10:30, 10:30] = 1


@pytest.fixture
def oslo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six scenes with a box and a mask each."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    oslo = tmp_path / "oslo"
    save_text(oslo / "classes.txt", "can\n")
    (oslo / "masks").mkdir()
    for number in range(6):
        save_photo(oslo / f"images/{number}.png", 40, 40)
        save_text(oslo / f"labels/{number}.txt", "0 0.5 0.5 0.5 0.5\n")
        Image.fromarray(MASK).save(oslo / f"masks/{number}.png")
    return oslo


def spoil(folder: Path) -> None:
    """A damaged mask, one of another size, one with an unknown number, and an empty one."""
    whole = (folder / "masks/0.png").read_bytes()
    (folder / "masks/0.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(MASK[:20]).save(folder / "masks/1.png")
    Image.fromarray(MASK * 7).save(folder / "masks/2.png")
    Image.fromarray(MASK * 0).save(folder / "masks/3.png")


def findings(folder: Path, probe: ServerProbe | None = None) -> list[Finding]:
    evidence = Evidence(measure_photos(folder), MACHINE, probe)
    return [*scenes.unusable_masks(evidence), *scenes.empty_masks(evidence)]


def remarks(finding: Finding) -> dict[str, str]:
    return {exhibit.name: exhibit.remark for exhibit in finding.exhibits}


def test_masks_in_order_are_told_by_nothing(oslo: Path) -> None:
    assert findings(oslo) == []


def test_each_mask_that_training_cannot_use_is_named_with_its_reason(oslo: Path) -> None:
    spoil(oslo)
    unusable, empty = findings(oslo)
    assert remarks(unusable) == {
        "images/0.png": "a broken mask",
        "images/1.png": "a mask of 40 x 20 pixels, another size or turn",
        "images/2.png": "a mask with class 7 of 1",
    }
    assert (unusable.severity, unusable.what) == (
        "warning",
        "3 masks of 6 cannot be used, so no mask is used.",
    )
    assert (empty.severity, empty.what) == (
        "warning",
        "1 mask shows no product, and 1 photo has boxes.",
    )
    assert remarks(empty) == {"images/3.png": "an empty mask"}
    # training says the same of the first one
    opened = open_scene_folder(oslo, PixelFormat(16))
    assert opened.masks is None
    assert "masks are not used: images/0.png has a broken mask" in opened.summary


def test_they_are_a_problem_where_masks_are_needed(oslo: Path) -> None:
    (oslo / "masks/4.png").write_bytes(b"no mask")
    asked = ServerProbe("127.0.0.1:8443", classes=("background", "product"))
    assert [finding.severity for finding in findings(oslo, asked)] == ["problem"]
    (oslo / "classes.txt").unlink()
    for number in range(6):
        (oslo / f"labels/{number}.txt").unlink()
    (problem,) = findings(oslo)
    assert problem.severity == "problem"
    assert remarks(problem) == {"images/4.png": "a mask that cannot be read: not an image"}
    with pytest.raises(DataError, match=r"no boxes; masks are not used: images/4\.png has a mask"):
        open_scene_folder(oslo, PixelFormat(16))


@pytest.mark.parametrize(("empty", "severity"), [(1, "note"), (4, "warning"), (6, "problem")])
def test_empty_masks_without_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty: int, severity: str
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    masks_of_cvat(tmp_path / "rome", 6)
    for number in range(empty):
        Image.new("RGB", (20, 10)).save(tmp_path / f"rome/SegmentationClass/{number}.png")
    (finding,) = findings(tmp_path / "rome")
    assert finding.severity == severity
    assert len(finding.exhibits) == empty


def test_a_quick_check_opens_no_mask(oslo: Path) -> None:
    spoil(oslo)
    assert list_photos(oslo).masks.unusable == ()


def test_a_person_is_told_in_one_call(oslo: Path, tmp_path: Path) -> None:
    spoil(oslo)
    own = {"FEDSHELF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [SCRIPTS / "flower-client", "check", "--data", oslo],
        env=os.environ | own,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "3 masks of 6 cannot be used, so no mask is used." in ended.stdout
    assert "1 mask shows no product" in ended.stdout
    page = next((tmp_path / "home").rglob("health.html")).read_text()
    for reason in ("a broken mask", "another size or turn", "a mask with class 7 of 1"):
        assert reason in page
