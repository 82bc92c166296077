"""Folders in which a data set with a known name is searched, and its download."""

import os
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.system.files import cache_directory


def candidates(name: str) -> list[Path]:
    """Return the folders in which a data set is searched.

    They are $FEDSHELF_DATA/NAME if that is set, ./data/NAME, and data/NAME in the cache directory.
    """
    roots = [Path(os.environ["FEDSHELF_DATA"])] if os.environ.get("FEDSHELF_DATA") else []
    return [root / name for root in (*roots, Path("data").absolute(), cache_directory() / "data")]


def fetch(repository: str, name: str) -> Path | None:
    """Download the parquet files of a Hugging Face data set.

    Args:
        repository: OWNER/NAME on the Hugging Face hub
        name: the name of its folder in the cache directory

    Returns:
        The folder; None if `huggingface_hub` is not installed.

    Raises:
        DataError: it cannot be fetched.
    """
    # keeps all of its files in our cache
    os.environ.setdefault("HF_HOME", str(cache_directory() / "huggingface"))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        return None
    folder = cache_directory() / "data" / name
    try:
        snapshot_download(
            repository, repo_type="dataset", allow_patterns="*.parquet", local_dir=folder
        )
    except Exception as error:  # its errors have no common base: network, HTTP status, names, disk
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{not_here(name, repository)} Fetching it failed: {reason}") from error
    return folder


def not_here(name: str, repository: str, files: str = "") -> str:
    """Return the message that names the folders and the files to put there.

    Args:
        name: the data set
        repository: OWNER/NAME on the Hugging Face hub
        files: further files that would do, in words
    """
    searched = ", ".join(str(folder) for folder in candidates(name))
    return (
        f"Data set {name} is not on this machine (looked in {searched}). Put its parquet files "
        f"(huggingface.co/datasets/{repository}){files} into one of these folders, "
        "give another with --dataset FOLDER, or install huggingface_hub to have it fetched."
    )
