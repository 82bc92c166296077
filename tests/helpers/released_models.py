"""Small signed releases."""

from pathlib import Path
from typing import Any

from fedshelf.common.inference.release.folder import write_release
from fedshelf.common.models.weights import file_sha256
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.release.keys import make_key, read_private_key
from tests.helpers.exported_models import save_exported
from tests.helpers.hand_made_models import write_square_locator
from tests.helpers.saved_models import save_model, spec_of


def save_release(folder: Path, **described: Any) -> tuple[Path, str]:
    """Write a release of the usual exported model, and return it with its public key.

    described: see `save_exported`
    """
    onnx = save_exported(folder / "run", **described)[1].read_bytes()
    public = make_key(folder / "release.key")
    key = read_private_key(folder / "release.key")
    write_release(folder / "release", folder / "run", "# A card\n", onnx, key)
    return folder / "release", public


def save_locator_release(folder: Path, name: str = "release", **described: Any) -> tuple[Path, str]:
    """Write a release whose ONNX file is the hand-made locator; return it with its public key.

    Releases of one folder have one key.

    name: of the release's folder
    described: see `write_square_locator`
    """
    run = save_model(folder / f"run of {name}", spec_of("locator", ("product",), 160))
    sha256 = file_sha256(run / WEIGHTS_FILE)
    onnx = write_square_locator(run / "model.onnx", model_sha256=sha256, **described)
    private = folder / "release.key"
    if not private.exists():
        make_key(private)
    write_release(
        folder / name, run, f"# The card of {name}\n", onnx.read_bytes(), read_private_key(private)
    )
    return folder / name, (folder / "release.key.pub").read_text(encoding="utf-8").strip()
