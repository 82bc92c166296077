"""A locator as a signed release: every command checks it before it opens it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.client_command import refused, run
from tests.helpers.hand_made_models import write_colour_classifier
from tests.helpers.released_models import save_locator_release

COMMANDS = {
    "locate": ["locate", "LOCATOR", "PHOTO"],
    "count": ["count", "CLASSIFIER", "PHOTO", "--locator", "LOCATOR"],
    "planogram": ["planogram", "LOCATOR", "PLAN", "PHOTO", "--classifier", "CLASSIFIER"],
    "track": ["track", "LOCATOR", "PHOTO"],
    "serve": ["serve", "CLASSIFIER", "--locator", "LOCATOR", "--port", "0"],
}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A release, with its key pinned, and what commands need beside it."""
    release, public = save_locator_release(tmp_path)
    assert run(tmp_path, "pin-release-key", public).returncode == 0
    pixels = np.zeros((160, 160, 3), np.uint8)
    pixels[50:66, 22:38, 0] = 255
    Image.fromarray(pixels).save(tmp_path / "shelf.png")
    (tmp_path / "plan.csv").write_text("shelf,column,product\n1,1,red\n")
    return {
        "LOCATOR": str(release),
        "CLASSIFIER": str(write_colour_classifier(tmp_path / "colours.onnx")),
        "PHOTO": str(tmp_path / "shelf.png"),
        "PLAN": str(tmp_path / "plan.csv"),
    }


def test_a_release_is_used_as_a_locator(tmp_path: Path, files: dict[str, str]) -> None:
    done = run(tmp_path, "locate", files["LOCATOR"], files["PHOTO"], "--json")
    assert done.returncode == 0, done.stderr
    (product,) = json.loads(done.stdout)["products"]
    assert product["box"] == [22, 50, 38, 66]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_changed_byte_is_refused(tmp_path: Path, files: dict[str, str], command: str) -> None:
    onnx = Path(files["LOCATOR"]) / "model.onnx"
    content = bytearray(onnx.read_bytes())
    content[len(content) // 2] ^= 1
    onnx.write_bytes(content)
    told = refused(tmp_path, 3, *(files.get(part, part) for part in COMMANDS[command]))
    assert "model.onnx was changed" in told
