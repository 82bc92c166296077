"""Small signed releases."""

from pathlib import Path
from typing import Any

from fedshelf.common.inference.release.folder import write_release
from fedshelf.common.release.keys import make_key, read_private_key
from tests.helpers.exported_models import save_exported


def save_release(folder: Path, **described: Any) -> tuple[Path, str]:
    """Write a release of the usual exported model, and return it with its public key.

    described: see `save_exported`
    """
    onnx = save_exported(folder / "run", **described)[1].read_bytes()
    public = make_key(folder / "release.key")
    key = read_private_key(folder / "release.key")
    write_release(folder / "release", folder / "run", "# A card\n", onnx, key)
    return folder / "release", public
