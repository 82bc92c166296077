"""`fedshelf.load`, and the examples of docs/how-to/use-from-code.md as they stand there."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedshelf
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.inference.export.torch_program import write_program
from tests.helpers.exported_models import open_torch, save_exported
from tests.helpers.services import coloured, running_service

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "use-from-code.md"


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of both kinds and a photo."""
    folder = tmp_path_factory.mktemp("use")
    _, onnx = save_exported(folder / "model")
    shutil.copy(onnx, folder / "shop.onnx")
    write_program(open_torch(folder / "model"), folder / "shop.pt2")
    (folder / "photo.jpg").write_bytes(coloured(200, 90, 20, "JPEG"))
    return folder


def test_files_and_pixels_have_predictions(folder: Path) -> None:
    model = fedshelf.load(folder / "shop.onnx")
    pixels = np.asarray(Image.open(folder / "photo.jpg").resize((32, 32)), np.uint8)
    of_file, of_pixels = model.predict([folder / "photo.jpg", pixels])
    for found in (of_file, of_pixels):
        assert found.probability == max(found.probabilities.values())
        assert next(iter(found.probabilities)) == found.label
        assert sum(found.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert set(found.probabilities) == {"Boots", "Hats", "Shirts"}
    assert of_file.label == of_pixels.label
    by_torch = fedshelf.load(folder / "model", "cpu").predict([folder / "photo.jpg"])[0]
    assert by_torch.probabilities == pytest.approx(of_file.probabilities, abs=1e-3)
    assert model.explain(pixels, "Hats").size == (32, 32)


def test_what_is_no_photo_is_refused(folder: Path) -> None:
    model = fedshelf.load(folder / "shop.onnx")
    with pytest.raises(DataError, match="not an image"):
        model.predict([folder / "shop.onnx"])
    with pytest.raises(ConfigError, match="in place of a list"):
        model.predict("photo.jpg")
    with pytest.raises(ConfigError, match=r"expected uint8 \[height"):
        model.predict([np.zeros((3, 8, 8), np.float32)])
    with pytest.raises(ConfigError, match="no class"):
        model.explain(folder / "photo.jpg", "Socks")


@pytest.mark.slow(minutes=0.3)
def test_python_examples_run_and_agree(folder: Path) -> None:
    ours, onnx, torch = examples("python")
    told = []
    for code in (ours + "import sys\nassert 'torch' not in sys.modules\n", onnx, torch):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        told.append(done.stdout.split()[:2])
    assert (folder / "heat.png").is_file()
    assert told[0][0] == told[1][0] == ("Boots", "Hats", "Shirts")[int(told[2][0])]
    assert float(told[0][1]) == pytest.approx(float(told[1][1]), abs=1e-3)
    assert float(told[1][1]) == pytest.approx(float(told[2][1]), abs=1e-3)


def test_the_javascript_example_runs(folder: Path, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on this machine")
    (code,) = examples("javascript")
    with running_service(tmp_path) as running:
        script = tmp_path / "classify.mjs"
        script.write_text(code.replace("http://127.0.0.1:8080", running.url))
        done = subprocess.run(
            [node, script], cwd=folder, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[:2] == ["sure", "red"]
