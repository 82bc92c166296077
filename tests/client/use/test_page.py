"""`flower-client page`, as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.client_command import refused, run
from tests.helpers.exported_models import save_exported
from tests.helpers.hand_made_models import write_colour_classifier
from tests.helpers.released_models import save_locator_release, save_release
from tests.helpers.saved_models import save_model


def test_a_folder_has_the_page_and_the_model(tmp_path: Path) -> None:
    onnx = save_exported(tmp_path / "run")[1]
    done = run(tmp_path, "page", str(onnx), "--out", str(tmp_path / "www" / "shop"))
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "www" / "shop"
    assert (folder / "model.onnx").read_bytes() == onnx.read_bytes()
    told = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    assert told == {
        "name": "model",
        "classes": ["Boots", "Hats", "Shirts"],
        "image_size": 32,
        "channels": 3,
        "energy_threshold": 1.0,
        "unsure_below": 0.6,
        "has_locator": False,
        "seal": onnx.read_bytes()[-64:].decode(),
    }
    assert "'wasm-unsafe-eval'" in (folder / "index.html").read_text(encoding="utf-8")
    vendor = {file.name for file in (folder / "vendor").iterdir()}
    assert {"ort.wasm.min.js", "ort-wasm-simd-threaded.wasm", "LICENSE.txt"} <= vendor
    assert not any(name.endswith(".gz") for name in vendor)
    assert list((tmp_path / "www").iterdir()) == [folder]  # nothing unfinished is left


def test_a_release_is_checked_before_its_model_is_taken(tmp_path: Path) -> None:
    release, public = save_release(tmp_path)
    out = tmp_path / "page"
    assert "pin" in refused(tmp_path, 3, "page", str(release), "--out", str(out))
    assert run(tmp_path, "pin-release-key", public).returncode == 0
    assert run(tmp_path, "page", str(release), "--out", str(out)).returncode == 0
    assert json.loads((out / "model.json").read_bytes())["name"] == "release"


def test_a_locator_goes_with_the_model_and_is_checked_as_well(tmp_path: Path) -> None:
    counting = {"counting": {"threshold": 0.24}}
    release, public = save_locator_release(tmp_path, provenance=counting)
    assert run(tmp_path, "pin-release-key", public).returncode == 0
    classifier = str(write_colour_classifier(tmp_path / "colours.onnx"))
    command = ["page", classifier, "--locator", str(release), "--out"]
    assert run(tmp_path, *command, str(tmp_path / "page")).returncode == 0
    onnx = (release / "model.onnx").read_bytes()
    assert (tmp_path / "page" / "locator.onnx").read_bytes() == onnx
    assert json.loads((tmp_path / "page" / "model.json").read_bytes())["has_locator"] is True
    assert json.loads((tmp_path / "page" / "locator.json").read_bytes()) == {
        "classes": ["product"],
        "image_size": 160,
        "channels": 3,
        "names_products": False,
        "counting_score": 0.24,
        "least_score": 0.1,
        "seal": onnx[-64:].decode(),
    }
    (release / "model.onnx").write_bytes(onnx[:9] + b"x" + onnx[10:])
    assert "was changed" in refused(tmp_path, 3, *command, str(tmp_path / "other"))
    swapped = ["page", str(tmp_path / "page" / "locator.onnx"), "--out", str(tmp_path / "third")]
    assert "is a locator" in refused(tmp_path, 3, *swapped)


def test_what_cannot_be_a_page_is_told_in_one_sentence(tmp_path: Path) -> None:
    weights = save_model(tmp_path / "run")
    out = ["--out", str(tmp_path / "page")]
    assert "flower-client export-onnx" in refused(tmp_path, 3, "page", str(weights), *out)
    assert "There is no model" in refused(tmp_path, 3, "page", str(tmp_path / "none"), *out)
    damaged = save_exported(tmp_path / "damaged")[1]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    refused(tmp_path, 3, "page", str(damaged), *out)
    assert not (tmp_path / "page").exists()


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    onnx = save_exported(tmp_path / "run")[1]
    out = tmp_path / "page"
    out.mkdir()
    assert "is there already" in refused(tmp_path, 3, "page", str(onnx), "--out", str(out))
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["torch", "flwr"])
def test_it_needs_no_pytorch(tmp_path: Path, name: str) -> None:
    onnx = save_exported(tmp_path / "run")[1]
    program = (
        "import sys; from fedshelf.client.main import app;"
        f"app(['page', {str(onnx)!r}, '--out', {str(tmp_path / 'page')!r}], standalone_mode=False);"
        f"sys.exit({name!r} in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
