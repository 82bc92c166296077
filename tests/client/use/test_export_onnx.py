"""`flower-client export-onnx`, as a person runs it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app
from fedshelf.common.errors import FedshelfError
from fedshelf.common.inference.loading import load
from tests.helpers.exported_models import save_exported
from tests.helpers.saved_models import save_model

run = CliRunner().invoke


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 photos of two colours in folders of their classes, and a file that is none."""
    shop = tmp_path_factory.mktemp("shop")
    draws = np.random.default_rng(0)
    for label in ("boot", "hat"):
        (shop / label).mkdir()
        for number in range(60):
            colours = draws.integers(0, 256, (2, 3), dtype=np.uint8)
            photo = np.repeat(np.repeat(colours[:, None], 24, axis=0), 48, axis=1)
            Image.fromarray(photo).save(shop / label / f"{number}.png")
    (shop / "hat" / "broken.png").write_bytes(b"no photo")
    return shop


def test_a_table_says_what_was_written_and_why_not(tmp_path: Path, shop: Path) -> None:
    model = save_model(tmp_path / "model")
    out = tmp_path / "out" / "shop.onnx"
    argv = ["export-onnx", str(model), "--out", str(out), "--photos", str(shop), "--half"]
    program = tmp_path / "out" / "shop.pt2"
    result = run(app, [*argv, "--int8", str(shop / "hat"), "--torch-export", str(program)])
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stdout.splitlines() if ".onnx" in line]
    names = [line.split()[0] for line in lines]
    assert names == ["shop.onnx", "shop.half.onnx", "shop.int8.onnx"]
    assert "100.0%" in lines[0]
    for name, line in zip(names, lines, strict=True):
        assert (out.parent / name).is_file() == line.rstrip().endswith("written")
    assert "On 120 photos, 120 of them labelled" in result.stderr
    photos = np.full((2, 50, 40, 3), 90, np.uint8)
    expected = load(model, "cpu").predict(photos).probabilities
    np.testing.assert_allclose(load(out).predict(photos).probabilities, expected, atol=1e-3)
    module = torch.export.load(str(program)).module()
    np.testing.assert_allclose(module(torch.from_numpy(photos))[0], expected, atol=1e-3)
    assert str(Path(__file__).parents[3]).encode() not in program.read_bytes()


def test_mistakes_are_sentences(tmp_path: Path, shop: Path) -> None:
    model, exported = save_exported(tmp_path / "model")
    out = str(tmp_path / "new.onnx")
    for argv, code, words in (
        ([str(model), "--out", "new.bin"], 2, "ends in .onnx"),
        ([str(model), "--out", out, "--torch-export", "a.pt"], 2, "ends in .pt2"),
        ([str(model), "--out", out, "--int8", str(shop)], 2, "needs labelled photos"),
        ([str(exported), "--out", out], 2, "is an ONNX file or several models"),
        ([str(tmp_path / "no"), "--out", out], 3, "There is no model"),
    ):
        mistake = run(app, ["export-onnx", *argv]).exception
        assert isinstance(mistake, FedshelfError)
        assert mistake.exit_code == code
        assert words in str(mistake)
    assert not Path(out).exists()
