"""Features are computed once for each image: after kills, additions, damage and removals."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.images.cache import feature_file
from fedshelf.common.images.cache.feature_file import (
    Progress,
    forget_features,
    open_features,
)
from fedshelf.common.images.cache.forget import forget_all
from fedshelf.common.images.cache.pixel_file import open_pixel_file
from fedshelf.common.images.cache.pixel_hashes import pixel_hashes
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.photo_folder import open_folder
from tests.helpers.image_cache import cache_folder
from tests.helpers.photo_files import store

__all__ = ["cache_folder"]

SHAPE = (2, 3)

KILLED = """
import numpy as np, sys
from fedshelf.common.images.cache.feature_file import open_features
from fedshelf.common.images.cache.pixel_hashes import pixel_hashes
pixels = np.arange(10 * 4, dtype=np.uint8).reshape(10, 4)

def compute(rows):
    for number, row in enumerate(rows):
        if number == 6:
            print("busy", flush=True)
            sys.stdin.readline()
        yield np.full((2, 3), pixels[row].sum(), np.float32)

open_features("key", pixel_hashes(pixels), np.arange(10), (2, 3), compute)
"""


def pictures(count: int, first: int = 0) -> NDArray[np.uint8]:
    return np.arange(first * 4, (first + count) * 4, dtype=np.uint8).reshape(count, 4)


class Computed:
    """Opens the features of images, each the sum of its pixels, and notes which are computed."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def open(
        self,
        pixels: NDArray[np.uint8],
        rows: Sequence[int] | None = None,
        key: str = "key",
        progress: Progress | None = None,
    ) -> NDArray[np.float32]:
        self.rows = []

        def compute(rows: Sequence[int]) -> Iterator[NDArray[np.float32]]:
            for row in rows:
                self.rows.append(row)
                yield np.full(SHAPE, pixels[row].sum(), np.float32)

        wanted = np.arange(len(pixels)) if rows is None else np.array(rows)
        return open_features(key, pixel_hashes(pixels), wanted, SHAPE, compute, progress)


def sums(pixels: NDArray[np.uint8]) -> list[float]:
    return [float(each) for each in pixels.sum(axis=1)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.features"))


def test_features_are_computed_once(cache_folder: Path) -> None:
    computed = Computed()
    pixels = pictures(5)
    seen: list[tuple[int, int]] = []
    features = computed.open(pixels, progress=lambda done, total: seen.append((done, total)))
    assert features.shape == (5, *SHAPE)
    assert features[:, 0, 0].tolist() == sums(pixels)
    assert computed.rows == [0, 1, 2, 3, 4]
    assert seen == [(done, 5) for done in range(1, 6)]
    assert computed.open(pixels).tolist() == features.tolist()
    assert computed.rows == []
    assert (files(cache_folder)[0].stat().st_mode & 0o777) == 0o600


def test_only_wanted_rows_are_computed(cache_folder: Path) -> None:
    computed = Computed()
    pixels = pictures(6)
    assert computed.open(pixels, [1, 4])[[1, 4], 1, 2].tolist() == [22, 70]
    assert computed.rows == [1, 4]
    computed.open(pixels, [0, 1])
    assert computed.rows == [0]
    computed.open(pixels)
    assert computed.rows == [2, 3, 5]
    assert len(files(cache_folder)) == 1


def test_another_key_has_features_of_its_own(cache_folder: Path) -> None:
    computed = Computed()
    computed.open(pictures(3), key="one")
    computed.open(pictures(3), key="two")
    assert computed.rows == [0, 1, 2]
    assert len(files(cache_folder)) == 2


def test_added_images_alone_are_computed_in_any_order(cache_folder: Path) -> None:
    computed = Computed()
    computed.open(pictures(4))
    more = np.concatenate([pictures(2, first=20), pictures(4)[::-1]])
    features = computed.open(more)
    assert computed.rows == [0, 1]
    assert features[:, 0, 0].tolist() == sums(more)
    assert len(files(cache_folder)) == 1  # the earlier one has nothing that this one lacks


def test_damaged_rows_are_computed_again(cache_folder: Path) -> None:
    computed = Computed()
    pixels = pictures(4)
    computed.open(pixels)
    (path,) = files(cache_folder)
    with path.open("r+b") as file:
        file.seek(2 * 2 * 3 * 4 + 5)  # in the third row
        file.write(b"\xff")
    assert computed.open(pixels)[:, 0, 0].tolist() == sums(pixels)
    assert computed.rows == [2]


@pytest.mark.parametrize("length", [0, 7, -1])
def test_a_file_of_another_length_is_made_anew(cache_folder: Path, length: int) -> None:
    computed = Computed()
    pixels = pictures(4)
    computed.open(pixels)
    (path,) = files(cache_folder)
    path.write_bytes(path.read_bytes()[:length])
    assert computed.open(pixels)[:, 0, 0].tolist() == sums(pixels)
    assert computed.rows == [0, 1, 2, 3]


def test_a_killed_process_loses_what_it_was_computing_alone() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "busy\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    computed = Computed()
    pixels = pictures(10)
    assert computed.open(pixels)[:, 0, 0].tolist() == sums(pixels)
    assert computed.rows == [6, 7, 8, 9]


def test_two_processes_compute_each_image_once() -> None:
    """The second one waits for the first, and finds its features."""
    first = subprocess.Popen(
        [sys.executable, "-c", KILLED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stdout is not None
    assert first.stdout.readline() == "busy\n"
    second = subprocess.Popen(
        [sys.executable, "-c", KILLED],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    first.communicate("go on\n")
    said, _ = second.communicate("go on\n")
    assert (first.returncode, second.returncode, said) == (0, 0, "")


def test_the_least_recently_used_files_go_first(
    cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = Computed()
    for seconds, key in enumerate(["older", "old", "new"]):
        before = set(files(cache_folder))
        computed.open(pictures(50), key=key)
        (path,) = set(files(cache_folder)) - before
        os.utime(path, (seconds, seconds))
    size = files(cache_folder)[0].stat().st_size
    monkeypatch.setattr(feature_file, "MAX_BYTES", int(2.5 * size))
    computed.open(pictures(50), key="newest")
    computed.open(pictures(50), key="new")
    assert computed.rows == []
    computed.open(pictures(50), key="older")
    assert len(computed.rows) == 50


def test_photos_that_are_gone_are_gone_from_features(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "photos", {"hat": 4, "shoe": 4})
    form = PixelFormat(16)
    open_folder(root, image_size=16, channels=3)
    (pixel_path,) = cache_folder.glob("*.pixels")
    pixel_file = open_pixel_file(pixel_path, form)
    assert pixel_file is not None
    computed = Computed()
    computed.open(np.asarray(pixel_file.pixels).reshape(8, -1))
    lost = set(pixel_file.digests[2:4])
    forget_features(pixel_path, lost)
    left = np.delete(pixel_file.pixels, [2, 3], axis=0)
    (path,) = files(cache_folder)
    content = path.read_bytes()
    for digest in pixel_hashes(pixel_file.pixels[2:4]):
        assert digest.tobytes() not in content
    computed.open(left.reshape(6, -1))
    assert computed.rows == []


def test_a_smaller_folder_leaves_no_features_of_the_others(
    tmp_path: Path, cache_folder: Path
) -> None:
    root = store(tmp_path / "photos", {"hat": 4, "shoe": 4})
    open_folder(root, image_size=16, channels=3)
    (pixel_path,) = cache_folder.glob("*.pixels")
    pixel_file = open_pixel_file(pixel_path, PixelFormat(16))
    assert pixel_file is not None
    computed = Computed()
    computed.open(pixel_file.pixels.reshape(8, -1))
    (root / "hat" / "001.png").unlink()
    opened = open_folder(root, image_size=16, channels=3)
    left = opened.splits["train"].inputs.numpy().reshape(7, -1)
    computed.open(left)
    assert computed.rows == []
    (path,) = files(cache_folder)
    gone = pixel_hashes(pixel_file.pixels[1:2])[0].tobytes()
    assert gone not in path.read_bytes()


def test_forgetting_all_removes_features(cache_folder: Path) -> None:
    Computed().open(pictures(3))
    assert forget_all() > 3 * 2 * 3 * 4
    assert files(cache_folder) == []


@pytest.mark.usefixtures("cache_folder")
def test_a_whole_file_serves_from_a_cache_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    computed = Computed()
    before = computed.open(pictures(3)).copy()
    # what a read-only file system does, for root, too
    for call in ("utime", "open", "mkdir", "chmod"):
        monkeypatch.setattr(os, call, refuse)
    assert np.array_equal(computed.open(pictures(3)), before)
    assert computed.rows == []
    with pytest.raises(DataError, match="Read-only file system"):
        computed.open(pictures(4))
