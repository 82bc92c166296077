"""The page answers on a device as Python does for the same pixels."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fedshelf.client.service.device_model import read_device_model
from fedshelf.client.service.page_files import page_folder
from fedshelf.common.inference.explain.occlusion import occlusion
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.predictor import Predictor
from fedshelf.common.inference.predictors.verdicts import verdicts
from fedshelf.common.system.files import write_folder
from tests.helpers.browser import Tab, chromium
from tests.helpers.exported_models import save_exported
from tests.helpers.static_files import static_files

DRAWS = np.random.default_rng(5)
ORIENTATION = 0x0112  # EXIF 2.32


def drawn(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture with soft colours, of any size."""
    channels = len(mode) if mode != "L" else 1
    coarse = DRAWS.integers(0, 256, (5, 7, channels), dtype=np.uint8)
    small = Image.fromarray(coarse.squeeze(), mode)
    return small.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return saved(drawn(90, 60), "JPEG", exif=exif, quality=95)


NOISE = DRAWS.integers(0, 256, (64, 64, 3), dtype=np.uint8)
PHOTOS = {
    "wide": saved(drawn(301, 97), "PNG"),
    "tall, in several strips": saved(drawn(40, 600), "PNG"),
    "tiny": saved(drawn(5, 3), "PNG"),
    "of the model's size": saved(drawn(32, 32), "PNG"),
    "grey": saved(drawn(50, 70, "L"), "PNG"),
    "JPEG": saved(drawn(120, 80), "JPEG", quality=90),
    "turned": turned(),
    "blank": saved(Image.new("RGB", (40, 40), (200, 30, 90)), "PNG"),
    "noise": saved(Image.fromarray(NOISE), "PNG"),
}


def pixels_of(photo: bytes) -> NDArray[np.uint8]:
    """All pixels of a photo, upright, transparent parts white: uint8 [H, W, 3]."""
    image = Image.open(io.BytesIO(photo))
    if image.getexif().get(ORIENTATION) == 6:
        image = image.transpose(Image.Transpose.ROTATE_270)
    whole = Image.new("RGBA", image.size, "white")
    whole.alpha_composite(image.convert("RGBA"))
    return np.array(whole.convert("RGB"))


def squeezed(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR))


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return load(save_exported(tmp_path_factory.mktemp("model"))[1])


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A page whose `backend` answers on the device; `opened(photo)` opens one in base64."""
    home = tmp_path_factory.mktemp("page")
    onnx = save_exported(home / "model")[1]
    write_folder(home / "page", page_folder(read_device_model(onnx, "shop")))
    with static_files(home / "page") as url, chromium(home / "browser") as tab:
        tab.open(f"{url}/", width=390)
        tab.waited_for(
            """(async () => {
              const { Connection } = await import("./connection.js");
              const { DeviceBackend } = await import("./device_backend.js");
              globalThis.pixels = await import("./pixels.js");
              globalThis.backend = new DeviceBackend(new Connection());
              await backend.model();
              globalThis.file = (text) =>
                new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
            })()"""
        )
        yield tab


def file(photo: bytes) -> str:
    """JavaScript for a photo's file."""
    return f'file("{base64.b64encode(photo).decode()}")'


@pytest.mark.parametrize("name", PHOTOS)
def test_probabilities_and_verdict_are_pythons(tab: Tab, predictor: Predictor, name: str) -> None:
    photo = PHOTOS[name]
    answer = tab.waited_for(f"backend.classify({file(photo)})")
    pixels = pixels_of(photo)
    expected = predictor.predict(pixels[None])
    names = predictor.description.class_names
    found = {guess["class"]: guess["probability"] for guess in answer["guesses"]}
    assert [found[label] for label in names] == pytest.approx(
        list(expected.probabilities[0]), abs=1e-3
    )
    best = names[expected.probabilities[0].argmax()]
    assert answer["guesses"][0]["class"] == best
    square = squeezed(pixels, predictor.pixel_format.image_size)
    assert answer["verdict"] == verdicts(expected, square[None])[0]


def test_blank_photos_and_noise_are_unknown(tab: Tab) -> None:
    for name in ("blank", "noise"):
        assert tab.waited_for(f"backend.classify({file(PHOTOS[name])})")["verdict"] == "unknown"


def test_each_verdict_is_given(tab: Tab) -> None:
    """With scores by hand: temperature and thresholds have their meaning."""
    square = json.dumps([int(value) for value in drawn(8, 8).tobytes()])

    def verdict(probabilities: list[float], logits: list[float], threshold: float | None) -> str:
        model = json.dumps({"energy_threshold": threshold, "unsure_below": 0.6})
        return str(
            tab.waited_for(
                f"""import("./verdicts.js").then(({{ verdictOn }}) => verdictOn({probabilities},
                {logits}, {{ data: {square}, height: 8, width: 8, channels: 3 }}, {model}))"""
            )
        )

    assert verdict([0.7, 0.3], [2, 1], None) == "sure"
    assert verdict([0.6, 0.4], [2, 1], 2.3) == "sure"  # the energy is 2.313
    assert verdict([0.7, 0.3], [2, 1], 2.32) == "unknown"
    assert verdict([0.59, 0.41], [2, 1], None) == "unsure"


def test_transparent_parts_are_white(tab: Tab) -> None:
    image = drawn(60, 60, "RGBA")
    photo = saved(image, "PNG")
    data = tab.waited_for(
        f"pixels.openPhoto({file(photo)}).then((open) => [...pixels.pixelsOf(open, 3).data])"
    )
    difference = np.array(data) - pixels_of(photo).reshape(-1).astype(int)
    assert np.abs(difference).max() <= 2  # a canvas keeps colours multiplied by their opacity


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "size", [(301, 97), (5, 3), (32, 200), (36, 49), (40, 48), (40, 49), (16, 32), (16, 33)]
)
def test_a_photo_is_squeezed_as_by_pillow_to_the_bit(
    tab: Tab, size: tuple[int, int], channels: int
) -> None:
    """Pillow begins with the height of 32 x 200, 36 x 49, 40 x 49 and 16 x 33 pixels."""
    width, height = size
    image = Image.fromarray(DRAWS.integers(0, 256, (height, width, 3), dtype=np.uint8))
    data = tab.waited_for(
        f"""pixels.openPhoto({file(saved(image, "PNG"))}).then((open) =>
        [...pixels.squeezed(pixels.pixelsOf(open, {channels}), 32).data])"""
    )
    plain = image.convert("L" if channels == 1 else "RGB")
    assert bytes(data) == plain.resize((32, 32), Image.Resampling.BILINEAR).tobytes()


def test_the_heat_map_is_pythons(tab: Tab, predictor: Predictor) -> None:
    photo = PHOTOS["wide"]
    heat = tab.waited_for(
        f"pixels.openPhoto({file(photo)}).then((open) => backend.heat(open)).then(Array.from)"
    )
    square = squeezed(pixels_of(photo), predictor.pixel_format.image_size)
    target = int(predictor.predict(square[None]).probabilities[0].argmax())
    expected = occlusion(predictor, square, target)
    assert np.array(heat).reshape(expected.shape) == pytest.approx(expected, abs=1e-3)
    assert np.ptp(expected) > 1e-2  # else any map would do


def test_what_is_no_photo_or_too_large_is_refused(tab: Tab) -> None:
    status = "backend.classify({}).catch((error) => error.status)"
    assert tab.waited_for(status.format(file(b"<svg/>"))) == 415
    assert tab.waited_for(status.format(file(saved(drawn(80, 80), "PNG")[:60]))) == 415
    large = saved(Image.new("1", (5001, 5000)), "PNG")
    assert tab.waited_for(status.format(file(large))) == 413
