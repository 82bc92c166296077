"""Signed releases of a run's models: `releases/` in the run directory, from where stores get them.

The name of a release's folder there begins the SHA-256 of its model, so that a release is never
taken for that of a later model.
"""

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedshelf.common.errors import RunError
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from fedshelf.common.protocol.model_delivery import RELEASE_FILES

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from fedshelf.common.models.spec import Output

RELEASES_FOLDER = "releases"
_NAME_DIGITS = 16  # of the model's SHA-256


def release_folder(run: Path, model_sha256: str) -> Path:
    """Return the folder for the release of a run's model, from where it is delivered."""
    return run / RELEASES_FOLDER / model_sha256[:_NAME_DIGITS]


def read_release(run: Path, model_sha256: str) -> dict[str, bytes]:
    """Return the files of the release of a run's model but the model itself; none: it has none.

    Stores check them.

    Args:
        run: run directory
        model_sha256: of the `model.safetensors`

    Raises:
        RunError: they cannot be read.
    """
    folder = release_folder(run, model_sha256)
    if not folder.exists():
        return {}
    names = (DESCRIPTION_FILE, *RELEASE_FILES)
    try:
        return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}
    except OSError as error:
        raise RunError(f"Cannot read the release {folder} ({error.strerror or error}).") from error


def make_release(
    run: Path, key: "Ed25519PrivateKey", out: Path | None = None, licence: str = ""
) -> tuple[Path, tuple[str, ...]]:
    """Write a signed release of a run's model: weights, ONNX file, model card.

    It has no ONNX file if the packages of the extra `export` are missing, or if the model is a
    detector with anchors.

    Args:
        run: run directory
        key: signs it
        out: the new folder; None: `release_folder`
        licence: of the model, in words

    Returns:
        The folder and the names of its files.

    Raises:
        RunError: the run is not finished.
        DataError: the model cannot be used.
        ConfigError: `out` is there already.
        OSError: it cannot be written.
    """
    from fedshelf.common.inference.loading import read_kind
    from fedshelf.common.inference.release.card import model_card
    from fedshelf.common.inference.release.folder import write_release
    from fedshelf.common.models.weights import file_sha256
    from fedshelf.server.settings.own_code import allow_of_run

    weights = run / WEIGHTS_FILE
    allow_of_run(run)
    description, output = read_kind(weights)
    summary, config = _read_run(run)
    sha256 = file_sha256(weights)
    onnx = _onnx_content(weights, output, sha256) if has_export() else None
    card = model_card(description, summary, config, licence, output)
    folder = out or release_folder(run, sha256)
    return folder, write_release(folder, run, card, onnx, key)


def has_export() -> bool:
    """Return whether the packages that write ONNX files are installed."""
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def _onnx_content(weights: Path, output: "Output", sha256: str) -> bytes | None:
    """Return the content of the model's ONNX file; None: a detector has none. Raises DataError."""
    from fedshelf.common.inference.export.locator_file import export_locator
    from fedshelf.common.inference.export.mask_file import export_masks
    from fedshelf.common.inference.export.onnx_file import export_classifier
    from fedshelf.common.inference.loading import load, load_locator, load_masks
    from fedshelf.common.inference.locators.torch_locator import TorchBoxPredictor
    from fedshelf.common.inference.masks.torch_masks import TorchMaskPredictor
    from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor

    if output == "boxes":
        locator = load_locator(weights, "cpu")
        assert isinstance(locator, TorchBoxPredictor), weights
        return None if locator.is_detector else export_locator(locator, sha256)
    if output == "masks":
        masks = load_masks(weights, "cpu")
        assert isinstance(masks, TorchMaskPredictor), weights
        return export_masks(masks, sha256)
    classifier = load(weights, "cpu")
    assert isinstance(classifier, TorchPredictor), weights
    return export_classifier(classifier, sha256)


def _read_run(run: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the summary and the configuration of a run. Raises RunError."""
    try:
        summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
        config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(
            f"{run} is no finished run ({type(error).__name__}); a release needs its summary.json"
            " and config.toml."
        ) from error
    return summary, config
