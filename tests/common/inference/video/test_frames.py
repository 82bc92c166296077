"""Frames of a video: their times, their turn, and files that end too early."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.errors import DataError
from fedshelf.common.inference.video.frames import sampled_frames
from fedshelf.common.inference.video.opening import open_video
from fedshelf.common.inference.video.source import file_source
from tests.helpers.videos import Turn, picture, turn_mp4, write_video


def to_the_end(path: Path) -> tuple[list[float], str]:
    """The times of all frames, and the error that follows them."""
    seen = []

    def look() -> None:
        for frame in sampled_frames(file_source(path), 1):
            seen.append(frame.seconds)

    with pytest.raises(DataError) as end:
        look()
    return seen, str(end.value)


def times(path: Path, every: float) -> list[float]:
    return [round(frame.seconds, 2) for frame in sampled_frames(file_source(path), every)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("clip.mp4", "mpeg4"),
        ("clip.mov", "libx264"),
        ("clip.mkv", "libx264"),
        ("clip.webm", "libvpx"),
        ("clip.avi", "mpeg4"),
        ("reordered.avi", "libx264"),
        ("clip.ts", "mpeg2video"),
        ("clip.mpg", "mpeg2video"),
        ("clip.flv", "flv"),
        ("clip.wmv", "wmv2"),
    ],
)
def test_plain_containers_are_read_with_times_and_colours(
    name: str, codec: str, tmp_path: Path
) -> None:
    rate = 25 if codec == "mpeg2video" else 10
    shown = [picture(colour) for colour in ["red", "blue"] * 2 for _ in range(rate)]
    seconds = [index / rate for index in range(len(shown))]
    path = write_video(tmp_path / name, shown, codec=codec, times=seconds)
    frames = list(sampled_frames(file_source(path), 1))
    assert [round(frame.seconds, 1) for frame in frames] == [0, 1, 2, 3]
    for frame, colour in zip(frames, ["red", "blue"] * 2, strict=True):
        wanted = np.asarray(picture(colour), dtype=int)
        difference = np.asarray(frame.image, dtype=int)[:, 8:-8] - wanted[:, 8:-8]
        assert abs(difference).mean() < 12  # of 255; small codecs of little quality


def test_frames_are_taken_by_their_times_whatever_their_rate(tmp_path: Path) -> None:
    shown = [0, 0.4, 0.8, 1.2, 1.3, 1.4, 1.5, 6, 6.5, 7, 7.25]
    path = write_video(tmp_path / "clip.mp4", [picture("red")] * len(shown), times=shown)
    assert times(path, 0) == shown
    assert times(path, 1) == [0, 1.2, 6, 7]
    assert times(path, 0.5) == [0, 0.8, 1.2, 1.5, 6, 6.5, 7]
    assert times(path, 100) == [0]


def test_times_begin_with_the_first_frame(tmp_path: Path) -> None:
    path = write_video(tmp_path / "c.mkv", [picture("red")] * 3, times=[100, 101, 102])
    assert times(path, 1) == [0, 1, 2]


@pytest.mark.parametrize(
    ("turn", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (1, 0)),  # a quarter clockwise: the upper left goes to the upper right
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (0, 1)),
        ((-1, 0, 0, 1), (1, 0)),
        ((1, 0, 0, -1), (0, 1)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (1, 1)),
    ],
)
def test_frames_are_turned_as_players_do(
    turn: Turn, corner: tuple[int, int], tmp_path: Path
) -> None:
    """The stored frame is dark but for its upper left quarter."""
    stored = Image.new("RGB", (64, 48))
    stored.paste((255, 255, 255), (0, 0, 32, 24))
    path = turn_mp4(write_video(tmp_path / "clip.mp4", [stored]), turn)
    (frame,) = sampled_frames(file_source(path), 1)
    assert frame.image.size == ((48, 64) if turn[0] == 0 else (64, 48))
    quarters = np.asarray(frame.image.convert("L").resize((2, 2), Image.Resampling.BOX))
    across, down = corner
    assert quarters[down, across] > 200
    assert np.sort(quarters.ravel())[:3].max() < 50


@pytest.mark.parametrize(("name", "codec"), [("c.mp4", "libx264"), ("c.mkv", "mpeg4")])
def test_a_truncated_file_says_how_far_it_got(name: str, codec: str, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if name == "c.mp4" else {}
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / name, map(Image.fromarray, noise), codec=codec, options=options)
    os.truncate(path, path.stat().st_size * 6 // 10)
    seen, reason = to_the_end(path)
    assert 3 < len(seen) < 18
    assert re.match(rf"{name} is truncated or damaged: .* of (19|20)\.", reason)
    assert f"until second {seen[-1]:.1f} of" in reason


def test_a_damaged_file_gives_its_sound_frames(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 48, 64, 3), dtype=np.uint8)
    path = write_video(tmp_path / "c.avi", map(Image.fromarray, noise))
    content = bytearray(path.read_bytes())
    pictures = [
        found.start() for found in re.finditer(rb"\x00\x00\x01\xb6", content)
    ]  # MPEG-4's VOP
    assert len(pictures) == 20
    content[pictures[9] + 100 : pictures[9] + 200] = b"\xff" * 100
    path.write_bytes(content)
    seen, reason = to_the_end(path)
    assert [round(second) for second in seen] == [*range(9), *range(10, 20)]
    assert "until second 19.0 of 19.0 (1 of its parts cannot be decoded)" in reason


def test_the_end_of_an_mp4_has_its_index(tmp_path: Path) -> None:
    path = write_video(tmp_path / "c.mp4", [picture("red")] * 9)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(DataError, match="was cut before its index"):
        list(sampled_frames(file_source(path), 1))


def test_huge_frames_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "c.avi", [picture("red")], codec="ffv1")
    content = path.read_bytes()
    size = b"\x40\0\0\0\x30\0\0\0\1\0"  # 64 x 48 in the header of the stream
    assert content.count(size) == 1
    path.write_bytes(content.replace(size, b"\0\x28\0\0\0\x28\0\0\1\0"))
    with pytest.raises(DataError, match="10240 x 10240 pixels, too large"):
        open_video(file_source(path))
