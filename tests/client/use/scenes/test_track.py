"""`flower-client track`, as a person runs it: coloured squares move through a video."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.client_command import refused, run
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.videos import write_video

FRAMES = 26  # the red square moves from 14 to 114 pixels, the blue one stands


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("track")
    pictures = []
    for frame in range(FRAMES):
        pixels = np.zeros((160, 160, 3), np.uint8)
        left = 14 + 4 * frame
        pixels[30:46, left : left + 16, 0] = 255
        pixels[110:126, 118:134, 2] = 255
        shade = [43, 44, 45, 123, 124, 125]  # a flat crop shows nothing
        pixels[shade] -= pixels[shade] // 6
        pictures.append(Image.fromarray(pixels))
    times = [frame / 10 for frame in range(FRAMES)]
    video = write_video(folder / "belt.mkv", pictures, codec="ffv1", times=times)
    locator = write_square_locator(folder / "locator.onnx")
    classifier = write_colour_classifier(folder / "model.onnx")
    return ["track", str(locator), str(video), "--classifier", str(classifier)]


def test_each_item_counts_once(tmp_path: Path, command: list[str]) -> None:
    done = run(tmp_path, *command, "--line", "0.5,1,0.5,0", "--zone", "0,100,160,60")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "belt.mkv: 2 items (red 1 and blue 1) in 26 frames",
        "line 0.5,1,0.5,0: 1 to the right, 0 to the left",
        "zone 0,100,160,60: 1 item, 1 at the end",
    ]


def test_json_tells_when_each_item_was_seen(tmp_path: Path, command: list[str]) -> None:
    told = json.loads(run(tmp_path, *command, "--json").stdout)
    assert (told["source"], told["frames"]) == ("belt.mkv", FRAMES)
    assert [(item["item"], item["from"], item["to"]) for item in told["items"]] == [
        (1, 0, 2.5),
        (2, 0, 2.5),
    ]
    assert {item["class"] for item in told["items"]} == {"red", "blue"}


def test_what_cannot_be_tracked_is_refused(tmp_path: Path, command: list[str]) -> None:
    assert "--line got" in refused(tmp_path, 2, *command, "--line", "1,2,3")
    assert "is a classifier" in refused(tmp_path, 3, "track", command[-1], command[2])
    assert "There is no" in refused(tmp_path, 3, "track", command[1], "none.mp4")
