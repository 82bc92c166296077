"""The folder of the pixel cache, and its removal as a whole."""

from pathlib import Path

from fedshelf.common.system.files import cache_directory


def pixel_folder() -> Path:
    """Return the folder of this user's pixel cache, which `common.images.cache.cache` describes."""
    return cache_directory() / "images"


def forget_all() -> int:
    """Remove all pixel files and indexes of this user; return the bytes. Raises OSError."""
    directory = pixel_folder()
    files = [path for path in directory.glob("*") if path.is_file()] if directory.is_dir() else []
    size = sum(path.stat().st_size for path in files)
    for path in files:
        path.unlink(missing_ok=True)
    return size
