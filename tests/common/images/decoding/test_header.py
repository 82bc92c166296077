"""Size and time of a photo, from its header."""

import os
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.header import time_taken, upright_size


def save(path: Path, *, turn: int = 1, taken: str = "") -> Path:
    exif = Image.Exif()
    exif[0x0112] = turn
    if taken:
        exif.get_ifd(0x8769)[0x9003] = taken
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
    return path


@pytest.mark.parametrize(("turn", "size"), [(1, (30, 20)), (3, (30, 20)), (6, (20, 30))])
def test_the_size_is_that_of_the_upright_photo(
    turn: int, size: tuple[int, int], tmp_path: Path
) -> None:
    assert upright_size(save(tmp_path / "1.jpg", turn=turn)) == size


def test_a_broken_photo_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    with pytest.raises(NotUsableError):
        upright_size(tmp_path / "1.jpg")


def test_the_camera_knows_when(tmp_path: Path) -> None:
    path = save(tmp_path / "1.jpg", taken="2026:11:29 08:15:00")
    assert time_taken(path) == (datetime(2026, 11, 29, 8, 15), "camera")


@pytest.mark.parametrize("taken", ["", "0000:00:00 00:00:00", "yesterday"])
def test_else_the_file_does(taken: str, tmp_path: Path) -> None:
    path = save(tmp_path / "1.jpg", taken=taken)
    time = datetime(2026, 11, 28, 12).timestamp()
    os.utime(path, (time, time))
    assert time_taken(path) == (datetime(2026, 11, 28, 12), "file")
