"""`flower-server release`, and a store that uses it, as people run them."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app as client
from fedshelf.common.errors import ConfigError, DataError, RunError
from fedshelf.common.inference.loading import load_locator, load_masks
from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.inference.masks.mask_predictor import MaskPredictor
from fedshelf.common.models.weights import file_sha256
from fedshelf.common.release.keys import RELEASE_KEY_VARIABLE, make_key
from fedshelf.server.main import app as server
from tests.helpers.saved_models import save_model, spec_of

run = CliRunner().invoke


def test_a_release_goes_from_the_chain_to_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(RELEASE_KEY_VARIABLE, raising=False)
    model = save_model(tmp_path / "runs" / "shop")
    key, out = tmp_path / "release.key", tmp_path / "out" / "shop-1"
    told = run(server, ["release-key", str(key)])
    assert told.exit_code == 0, told.output
    argv = ["release", str(model), "--key", str(key), "--out", str(out), "--licence", "CC0"]
    assert isinstance(run(server, argv).exception, RunError)  # no summary yet
    (model / "summary.json").write_text(json.dumps({"stores": 3}))
    (model / "config.toml").write_text("[run]\nrecipe = 'scratch'\n")
    released = run(server, argv)
    assert released.exit_code == 0, released.output
    assert "model.onnx" in released.output
    card = (out / "card.md").read_text()
    assert "- Stores: 3" in card
    assert "CC0" in card
    assert isinstance(run(server, argv).exception, ConfigError)  # it is there already
    Image.fromarray(np.arange(48 * 48 * 3).reshape(48, 48, 3).astype(np.uint8)).save(
        tmp_path / "photo.png"
    )
    classify = ["classify", str(out), str(tmp_path / "photo.png")]
    assert isinstance(run(client, classify).exception, DataError)  # the key is not pinned
    public = (tmp_path / "release.key.pub").read_text().strip()
    assert public in told.stdout
    pinned = run(client, ["pin-release-key", public])
    assert pinned.exit_code == 0, pinned.output
    assert run(client, classify).stdout.startswith("photo.png: ")


def test_a_mistyped_key_is_not_pinned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    mistake = run(client, ["pin-release-key", "ed25519:AAAA"]).exception
    assert isinstance(mistake, ConfigError)
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("network", "classes", "opened"),
    [("locator", ("product",), load_locator), ("unet", ("background", "product"), load_masks)],
)
def test_models_of_scenes_are_released_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    network: str,
    classes: tuple[str, ...],
    opened: Callable[[Path], BoxPredictor | MaskPredictor],
) -> None:
    model = save_model(tmp_path / "run", spec_of(network, classes, 64))
    (model / "summary.json").write_text(json.dumps({"stores": 3}))
    (model / "config.toml").write_text("[run]\nrecipe = 'boxes'\n")
    monkeypatch.setenv(RELEASE_KEY_VARIABLE, make_key(tmp_path / "release.key"))
    out = tmp_path / "out"
    released = run(
        server, ["release", str(model), "--key", str(tmp_path / "release.key"), "--out", str(out)]
    )
    assert released.exit_code == 0, released.output
    assert (out / "model.onnx").is_file()
    assert "only what is in view" in (out / "card.md").read_text()
    assert opened(out).description.sha256 == file_sha256(out / "model.safetensors")
    content = (out / "model.onnx").read_bytes()
    (out / "model.onnx").write_bytes(content[:-1] + b"x")
    with pytest.raises(DataError, match=r"model\.onnx was changed"):
        opened(out)


def test_a_detector_is_released_without_an_onnx_file(tmp_path: Path) -> None:
    detector = spec_of("ssdlite320_mobilenet_v3_large", ("product",), 320)
    model = save_model(tmp_path / "run", detector)
    (model / "summary.json").write_text(json.dumps({"stores": 3}))
    (model / "config.toml").write_text("[run]\nrecipe = 'boxes'\n")
    make_key(tmp_path / "release.key")
    out = tmp_path / "out"
    released = run(
        server, ["release", str(model), "--key", str(tmp_path / "release.key"), "--out", str(out)]
    )
    assert released.exit_code == 0, released.output
    assert "this kind of network has none" in released.output
    assert (out / "model.safetensors").is_file()
    assert not (out / "model.onnx").exists()
