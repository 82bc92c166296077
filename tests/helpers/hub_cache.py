"""Snapshots in the layout of `huggingface_hub`'s cache: blobs, and links to them."""

import os
from collections.abc import Mapping
from pathlib import Path

REVISION = "0123456789" * 4


def put_snapshot(cache: Path, kind: str, repository: str, files: Mapping[str, bytes]) -> None:
    """Put a repository into a cache (HF_HUB_CACHE), as a download leaves it.

    kind: model or dataset
    """
    folder = cache / f"{kind}s--{repository.replace('/', '--')}"
    for part in ("refs", "blobs"):
        (folder / part).mkdir(parents=True)
    (folder / "refs" / "main").write_text(REVISION)
    for number, (name, content) in enumerate(files.items()):
        blob = folder / "blobs" / f"{number:040x}"
        blob.write_bytes(content)
        link = folder / "snapshots" / REVISION / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
