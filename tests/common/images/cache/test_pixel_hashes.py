"""Hashes of pixels: those that a pixel file has are those of its pixels, and nobody computes them
again.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.images.cache.pixel_file import (
    copy_without,
    open_pixel_file,
    read_trailer,
    trailer_bytes,
)
from fedshelf.common.images.cache.pixel_hashes import HASH_BYTES, pixel_hashes, remember
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.photo_folder import open_folder
from tests.helpers.image_cache import cache_folder
from tests.helpers.photo_files import store

__all__ = ["cache_folder"]

FORM = PixelFormat(16)


def pixels_of(root: Path) -> NDArray[np.uint8]:
    """The mapped pixels of all photos of a folder."""
    pixels: NDArray[np.uint8] = (
        open_folder(root, image_size=16, channels=3).splits["train"].inputs.numpy()
    )
    return pixels


def test_a_folder_has_the_hashes_of_its_pixels_without_a_look_at_them(
    tmp_path: Path, cache_folder: Path
) -> None:
    root = store(tmp_path / "photos", {"hat": 4, "shoe": 3})
    expected = pixel_hashes(pixels_of(root).copy())
    assert len({each.tobytes() for each in expected}) == 7
    (path,) = cache_folder.glob("*.pixels")
    with path.open("r+b") as file:  # a hash of these would be another one
        file.write(bytes(7 * 16 * 16 * 3))
    pixels = pixels_of(root)
    assert not pixels.any()
    assert np.array_equal(pixel_hashes(pixels), expected)
    assert not np.array_equal(pixel_hashes(pixels[:3]), expected[:3])  # not the whole mapping


def test_a_folder_with_photos_more_or_fewer_has_the_hashes_of_its_own(
    tmp_path: Path, cache_folder: Path
) -> None:
    root = store(tmp_path / "photos", {"hat": 4, "shoe": 3})
    pixels_of(root)
    (root / "hat" / "001.png").unlink()
    store(tmp_path / "more", {"bag": 2})
    (tmp_path / "more" / "bag").rename(root / "bag")
    pixels = pixels_of(root)
    assert np.array_equal(pixel_hashes(pixels), pixel_hashes(pixels.copy()))
    (path,) = cache_folder.glob("*.pixels")
    whole = open_pixel_file(path, FORM)
    assert whole is not None
    copy_without({whole.digests[1]}, path, tmp_path / "copy")
    fewer = open_pixel_file(tmp_path / "copy", FORM)
    assert fewer is not None
    assert len(fewer.pixels) == 7
    assert np.array_equal(pixel_hashes(fewer.pixels), pixel_hashes(fewer.pixels.copy()))


def test_a_file_of_an_earlier_version_has_none(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "photos", {"hat": 4})
    expected = pixel_hashes(pixels_of(root).copy())
    (path,) = cache_folder.glob("*.pixels")
    with path.open("rb") as file:
        trailer, size = read_trailer(file)
        file.seek(0)
        rows = file.read(size)
    del trailer["hashes"]
    path.write_bytes(rows + trailer_bytes(trailer))
    pixels = pixels_of(root)
    assert np.array_equal(pixel_hashes(pixels), expected)
    store(tmp_path / "more", {"bag": 1})
    (tmp_path / "more" / "bag").rename(root / "bag")
    more = pixels_of(root)
    assert np.array_equal(pixel_hashes(more), pixel_hashes(more.copy()))


def test_another_array_at_the_address_of_one_that_is_gone_has_its_own(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(bytes(64 * 4096))
    wrong = np.full((64, HASH_BYTES), 7, np.uint8)
    for _ in range(3):  # the system likes to map a file of one size at the same place again
        mapped = np.memmap(tmp_path / "rows", np.uint8, "c", shape=(64, 4096))
        assert not np.array_equal(pixel_hashes(mapped), wrong)
        remember(mapped, wrong)
        assert np.array_equal(pixel_hashes(mapped), wrong)
        del mapped
