"""The folder of a release: model, ONNX file, model card, and the envelope that signs them."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import (
    CARD_FILE,
    DESCRIPTION_FILE,
    ENVELOPE_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
)
from fedshelf.common.release.envelope import ListedFile, sign
from fedshelf.common.system.files import write_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def write_release(
    out: Path,
    model: Path,
    card: str,
    onnx: bytes | None,
    key: "Ed25519PrivateKey",
) -> tuple[str, ...]:
    """Write a signed release, whole or not at all.

    Args:
        out: the new folder
        model: folder of the run's model
        card: the model card, Markdown
        onnx: content of the ONNX file; None: the release has none
        key: signs it

    Returns:
        The names of its files.

    Raises:
        ConfigError: `out` is there already.
        OSError: the model cannot be read, or the folder cannot be written.
    """
    if out.exists():
        raise ConfigError(
            f"--out got {out}, which is there already; a release is never changed. Choose a new"
            " folder."
        )
    files = {name: (model / name).read_bytes() for name in (WEIGHTS_FILE, DESCRIPTION_FILE)}
    if onnx is not None:
        files[ONNX_FILE] = onnx
    files[CARD_FILE] = card.encode()
    listed = {
        name: ListedFile(hashlib.sha256(content).hexdigest(), len(content))
        for name, content in files.items()
    }
    files[ENVELOPE_FILE] = sign(listed, key)
    write_folder(out, files)
    return tuple(files)
