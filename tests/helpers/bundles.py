"""Bundles of a run, as Flower makes them."""

import hashlib
import io
import zipfile

import tomli_w

from fedshelf.client.session.bundle import CLIENT_APP

PROJECT = {
    "project": {"name": "fedshelf-run", "version": "1.0.0", "license": "Apache-2.0"},
    "tool": {
        "flwr": {
            "app": {
                "publisher": "fedshelf",
                "components": {"serverapp": "fedshelf.server.app:app", "clientapp": CLIENT_APP},
                "config": {"run": {"out": "/runs/first"}},
            }
        }
    },
}


def packed(
    project: bytes | dict[str, object] = PROJECT, manifest: bytes | None = None, **others: bytes
) -> bytes:
    """A bundle as Flower makes them, with other files if need be."""
    text = project if isinstance(project, bytes) else tomli_w.dumps(project).encode()
    lines = [
        f"{name},{hashlib.sha256(content).hexdigest()},{8 * len(content)}"
        for name, content in {"pyproject.toml": text, **others}.items()
    ]
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("pyproject.toml", text)
        for name, content in others.items():
            archive.writestr(name, content)
        archive.writestr(
            ".info/CONTENT", "\n".join(lines).encode() if manifest is None else manifest
        )
    return stream.getvalue()
