"""The commands `release` and `release-key` of the server; nothing heavy is imported here."""

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.errors import RunError
from fedshelf.common.names import WEIGHTS_FILE


def release_key(
    file: Annotated[Path, typer.Argument(help="New file for the private key.")],
) -> None:
    """Make the key with which the chain signs its releases, and print its public half.

    Who uses a release pins the public half once: flower-client pin-release-key.
    """
    from fedshelf.common.release.keys import make_key, public_file

    public = make_key(file)
    print(f"The private key, for this user alone: {file}")
    print(f"The public key, for all who use releases: {public_file(file)}")
    print(public)


def release(
    run: Annotated[Path, typer.Argument(help="Run directory, or the name of a run.")],
    key: Annotated[Path, typer.Option(help="The private key, made by release-key.")],
    out: Annotated[Path, typer.Option(help="New folder for the release.")],
    licence: Annotated[
        str, typer.Option(help="Licence of the model, in words, for its model card.")
    ] = "",
) -> None:
    """Make a signed release of a run's model: weights, ONNX file, model card."""
    from fedshelf.common.release.keys import key_id, public_text, read_private_key
    from fedshelf.server.monitor.run_finder import find_run

    private = read_private_key(key)
    path = find_run(run)
    from fedshelf.common.inference.loading import load  # loads torch
    from fedshelf.common.inference.predictors.torch_predictor import TorchPredictor
    from fedshelf.common.inference.release.card import model_card
    from fedshelf.common.inference.release.folder import write_release

    predictor = load(path / WEIGHTS_FILE, "cpu")
    assert isinstance(predictor, TorchPredictor), path
    summary, config = _read_run(path)
    onnx = _onnx_content(predictor, path) if _has_export() else None
    card = model_card(predictor.description, summary, config, licence)
    names = write_release(out, path, card, onnx, private)
    print(f"Released to {out}, signed with the key {key_id(public_text(private))}:")
    print(", ".join(names))
    if onnx is None:
        print(
            "There is no ONNX file in it, as its packages are missing:"
            " pip install 'fedshelf[export]'."
        )


def _has_export() -> bool:
    return all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))


def _onnx_content(predictor: Any, run: Path) -> bytes:
    """Return the content of the model's ONNX file. Raises DataError."""
    from fedshelf.common.inference.export.onnx_file import (
        check_parity,
        drawn_photos,
        file_content,
        make_graph,
    )
    from fedshelf.common.models.weights import file_sha256

    content = file_content(make_graph(predictor, file_sha256(run / WEIGHTS_FILE)))
    check_parity(predictor, content, drawn_photos(predictor.description))
    return content


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
