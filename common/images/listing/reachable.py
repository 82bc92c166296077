"""The distinction between deleted photos and photos on a disk that is away for the moment.

A network disk that fails shows errors, a missing folder, or, if it is not mounted, an empty folder
in its place. A photo counts as deleted only if a folder that can be listed does not have it, and if
any other photo is still there: if a folder has lost every photo, nobody can tell which of the two
has happened.
"""

import errno
from collections.abc import Iterable
from pathlib import Path

from fedshelf.common.errors import DataError

# any other error comes from the disk
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


class UnreachableError(DataError):
    """Photos that were there cannot be read, and may still exist."""


def check_reachable(missing: Iterable[Path], *, is_any_left: bool) -> None:
    """Check that files which are no longer found were deleted.

    Args:
        missing: files that were there; those which can be found after all do not matter
        is_any_left: True if other photos of the same folder are there, or it is sure that there
            are none to find

    Raises:
        UnreachableError: they may still exist
    """
    gone = [path for path in missing if not _exists(path)]
    for folder in sorted({path.parent for path in gone}):
        _check_folder(folder)
    if not is_any_left:
        raise UnreachableError(
            _sentence("none of them is there any more, for example because a disk is not mounted")
        )


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise UnreachableError(_sentence(f"{path.parent}: {error.strerror}")) from error
        return False
    except ValueError:  # a CSV file's cell that cannot be a file name
        return False
    return True


def _check_folder(folder: Path) -> None:
    """Check that this folder, or the nearest existing one above it, can be listed.

    Raises UnreachableError.
    """
    while True:
        try:
            next(folder.iterdir(), None)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise UnreachableError(_sentence(f"{folder}: {error.strerror}")) from error
            if folder.is_symlink():
                raise UnreachableError(
                    _sentence(f"{folder} is a link that leads nowhere")
                ) from error
            folder = folder.parent
        else:
            return


def _sentence(reason: str) -> str:
    return (
        f"Photos that were there cannot be reached ({reason}); until they can, no photo is"
        " used, and no decoded copy is removed: bring their disk back. If they were deleted,"
        " `flower-client forget` removes their decoded copies."
    )
