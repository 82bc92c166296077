"""Videos made by PyAV, and a model that knows what they show."""

import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image
from torch import nn

from tests.helpers.saved_models import save_model, spec_of

COLOURS = {"red": (255, 0, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}

Turn = tuple[int, int, int, int]
"""a, b, c and d of a display matrix."""


def picture(colour: str, width: int = 64, height: int = 48) -> Image.Image:
    """One colour, darker to the left, so that it is no flat area."""
    shades = np.linspace(0.6, 1, width)[None, :, None] * np.array(COLOURS[colour])
    return Image.fromarray(np.broadcast_to(shades, (height, width, 3)).astype(np.uint8))


def write_video(
    path: Path,
    pictures: Iterable[Image.Image],
    *,
    codec: str = "mpeg4",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """Write a picture per second, or at `times` (seconds, to a hundredth).

    MPEG-2 has 25 pictures a second, whatever its times are.
    """
    write_stream(
        str(path), pictures, codec=codec, times=times, options=options, container=container
    )
    return path


def write_stream(
    location: str,
    pictures: Iterable[Image.Image],
    *,
    codec: str = "mpeg4",
    times: Sequence[float] | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
) -> None:
    """Do the same to an address of FFmpeg."""
    shown = list(pictures)
    ticks = Fraction(1, 100)
    with av.open(location, "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=25 if codec.startswith("mpeg2") else 100)
        stream.width, stream.height = shown[0].size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.time_base = ticks
        for index, image in enumerate(shown):
            frame = av.VideoFrame.from_image(image)
            frame.pts = round(100 * (index if times is None else times[index]))
            frame.time_base = ticks
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def turn_mp4(path: Path, turn: Turn) -> Path:
    """Set the display matrix of an MP4's only track, as a phone does that is held upright."""
    content = bytearray(path.read_bytes())
    box = content.index(b"tkhd")
    assert content[box + 4] == 0  # version; then 3 bytes of flags, 20 of times and numbers, ...
    matrix = box + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (number << 16 for number in turn)
    content[matrix : matrix + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return path


def save_colour_model(folder: Path, names: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """Write a model that tells red from blue by the mean difference of these channels.

    names: of red, blue, and all else
    """
    spec = spec_of("mcmahan-cnn", names, size=8)
    return save_model(folder, spec, set_weights=_compare_red_and_blue)


def _compare_red_and_blue(module: nn.Module) -> None:
    """Let units 0 and 1 of each layer be red - blue and blue - red, and all others nothing."""
    for parameter in module.parameters():
        parameter.zero_()
    first, second, hidden, head = (
        layer for layer in module.children() if isinstance(layer, nn.Conv2d | nn.Linear)
    )
    for unit, sign in enumerate((1, -1)):
        first.weight[unit, 0, 2, 2] = sign
        first.weight[unit, 2, 2, 2] = -sign
        second.weight[unit, unit, 2, 2] = 1
        hidden.weight[unit, 4 * unit : 4 * unit + 4] = 1 / 4  # 64 channels of 2 x 2
        head.weight[unit, unit] = 4
    head.bias[2] = 4  # grey, if neither
