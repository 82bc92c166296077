import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from fedshelf.client.health.evidence.image_quality import (
    ImageQuality,
    measure_quality,
    smear,
    softness,
)
from fedshelf.common.images.decoding.content_digests import read_photo
from fedshelf.common.images.decoding.decode import NotUsableError
from tests.helpers.store_photos import encoded, thing


def look(image: Image.Image) -> ImageQuality:
    return measure_quality(encoded(image))


@pytest.mark.parametrize("spread", [1.0, 1.5, 2.0])
def test_softness_is_the_spread_of_the_edge(spread: float) -> None:
    step = Image.fromarray(
        np.repeat(np.where(np.arange(200) < 100, 40, 210)[None], 200, axis=0).astype(np.uint8)
    )
    pixels = np.asarray(step.convert("RGB").filter(ImageFilter.GaussianBlur(spread)))
    assert softness(pixels) == pytest.approx(spread, rel=0.2)


def test_a_photo_of_one_colour_has_neither_softness_nor_smear() -> None:
    plain = np.full((32, 32, 3), 77, np.uint8)
    assert (softness(plain), smear(plain)) == (0, 0)


def test_smear_by_hand() -> None:
    """A step of 90 becomes a ramp of nine steps of 10: of the difference of 90, 10 stay."""
    step = np.zeros((41, 41, 3), np.uint8)
    step[:, 20:] = 90
    assert smear(step) == pytest.approx(10 / 90)


@pytest.mark.parametrize("seed", range(5))
def test_a_shaken_camera_shows_in_one_direction_only_and_focus_in_both(seed: int) -> None:
    sharp = look(thing(seed, 256))
    shaken = look(thing(seed, 256).filter(ImageFilter.BoxBlur((6, 0))))
    unfocused = look(thing(seed, 256).filter(ImageFilter.GaussianBlur(3)))
    assert sharp.soft < 0.5
    assert sharp.smear < 0.3
    assert shaken.smear > 0.6
    assert unfocused.soft > 0.76


def test_light_and_burnt_and_contrast_are_those_of_the_pixels() -> None:
    half = np.full((100, 100, 3), 255, np.uint8)
    half[:, :50] = (60, 30, 0)
    found = look(Image.fromarray(half))
    assert (found.light, found.burnt) == (255, 0.5)
    assert found.contrast == 255 - round(0.299 * 60 + 0.587 * 30)
    assert look(Image.new("RGB", (50, 50), (60, 30, 0))).light == 60


@given(width=st.integers(1, 400), height=st.integers(1, 400))
def test_every_size_is_told_as_it_is(width: int, height: int) -> None:
    found = look(Image.new("RGB", (width, height), "red"))
    assert (found.width, found.height, found.tiny.shape) == (width, height, (16, 16, 3))


def test_a_photo_that_lies_on_its_side_is_told_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 30)).save(tmp_path / "a.jpg", exif=exif)
    found = measure_quality((tmp_path / "a.jpg").read_bytes())
    assert (found.width, found.height) == (30, 90)


@given(st.binary(max_size=300))
def test_rubbish_is_not_usable(data: bytes) -> None:
    with pytest.raises(NotUsableError):
        measure_quality(data)


@given(st.integers(0, 2000), st.integers(0, 255))
def test_a_damaged_photo_is_measured_or_refused(place: int, value: int) -> None:
    data = bytearray(encoded(thing(1, 64), "JPEG"))
    data[place % len(data)] = value
    with contextlib.suppress(NotUsableError):
        found = measure_quality(bytes(data))
        assert 0 <= found.light <= 255
        assert 0 <= found.smear <= 1


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    for name, reason in {
        "link": "a link that leads nowhere",
        "folder": "not a file",
        "pipe": "not a file",
    }.items():
        with pytest.raises(NotUsableError, match=reason):
            read_photo(tmp_path / f"{name}.jpg")
