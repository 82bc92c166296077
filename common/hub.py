"""Snapshots of repositories on the Hugging Face hub, by names `hf:OWNER/NAME`.

The library `huggingface_hub` (extra `hub`) fetches them into its own cache, and finds them there
again without a network: HF_HUB_OFFLINE=1, HF_HOME and HF_ENDPOINT mean what its documentation says.
"""

import hashlib
import importlib
import importlib.util
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from fedshelf.common.errors import ConfigError, DataError

HUB = "hf:"
"""The prefix of the names of repositories on the hub."""

Kind = Literal["model", "dataset"]

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLOCK_SLACK_SECONDS = 5.0  # a disk in the network has a clock of its own


def repository_of(name: str) -> str:
    """Return the repository of a name: "hf:timm/resnet18.a1_in1k" -> "timm/resnet18.a1_in1k".

    Raises:
        ConfigError: the name has another form.
    """
    repository = name.removeprefix(HUB)
    if not name.startswith(HUB) or not _REPOSITORY.fullmatch(repository):
        raise ConfigError(f"Got {name!r}; expected {HUB}OWNER/NAME, as on huggingface.co.")
    return repository


def library() -> Any:
    """Return the module `huggingface_hub`.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ConfigError(
            f"Names {HUB}OWNER/NAME need the package huggingface_hub; install it with"
            " pip install 'fedshelf[hub]'."
        )
    return importlib.import_module("huggingface_hub")


def snapshot(name: str, kind: Kind, patterns: Sequence[str]) -> Path:
    """Return the folder of a repository's files, fetched if they are not in the cache.

    Args:
        name: `hf:OWNER/NAME`
        kind: of the repository
        patterns: of the files that are wanted, such as `*.parquet`

    Raises:
        ConfigError: the name has another form, or the library is not installed.
        DataError: the files are not here, and cannot be fetched, or came damaged.
    """
    repository = repository_of(name)
    hub = library()
    began = time.time()
    try:
        folder = Path(
            hub.snapshot_download(repository, repo_type=kind, allow_patterns=list(patterns))
        )
    except Exception as error:  # its errors have no common base: network, HTTP status, names, disk
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(
            f"{name} is not in the cache of the Hugging Face hub on this machine, and cannot be"
            f" fetched ({reason}); check the name, or fetch it where there is a connection and copy"
            " the cache (HF_HOME)."
        ) from error
    _check_fetched(name, folder, began)
    return folder


def _check_fetched(name: str, folder: Path, began: float) -> None:
    """Check the large files that were fetched just now, which the cache names by their SHA-256.

    The library goes on with a broken download, and compares sizes alone.

    Args:
        name: `hf:OWNER/NAME`
        folder: of the repository's files, links into the cache
        began: Unix time (s) at which fetching began

    Raises:
        DataError: a file has other bytes; it is removed from the cache.
    """
    for link in folder.rglob("*"):
        file = link.resolve()
        if not (link.is_symlink() and _SHA256.fullmatch(file.name) and file.is_file()):
            continue
        if file.stat().st_mtime < began - _CLOCK_SLACK_SECONDS:
            continue
        with file.open("rb") as content:
            is_whole = hashlib.file_digest(content, "sha256").hexdigest() == file.name
        if not is_whole:
            link.unlink()
            file.unlink()
            raise DataError(
                f"The file {link.name} of {name} came damaged (its SHA-256 is not the hub's), and"
                " was removed from the cache; fetch it again."
            )
