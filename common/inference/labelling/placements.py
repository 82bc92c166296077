"""Photos put into other folders, by links, copies or moves, so that all of it can be undone.

    list of all that is planned --> fsync --> one photo after another

The list is complete before the first photo moves, so a process that is killed at any moment leaves
a list that undoes whatever was done. Nothing is ever overwritten: a place is taken by creating an
empty file that must not exist yet, and the photo then replaces that one.
"""

import errno
import filecmp
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Literal

from fedshelf.common.errors import DataError
from fedshelf.common.images.listing.folder_entries import LeftOut
from fedshelf.common.system.files import sync_directory, write_atomic, write_text

Action = Literal["link", "copy", "move"]
_ACTIONS = ("link", "copy", "move")


@dataclass(frozen=True)
class Placement:
    """A photo's way to another place; both paths are absolute."""

    action: Action
    source: Path
    target: Path


@dataclass
class Outcome:
    """The result of `carry_out` or of `undo`.

    Attributes:
        done: number of photos
        left_out: (path, reason) of the others
    """

    done: int = 0
    left_out: LeftOut = field(default_factory=list)


def linking(folder: Path) -> Action:
    """Return "link" if links can be made in `folder`, which is made if need be, else "copy"."""
    folder.mkdir(parents=True, exist_ok=True)
    probe = folder / f".link-{os.getpid()}"
    try:
        probe.symlink_to(folder)
        probe.unlink()
    except OSError:  # a memory stick, or Windows without the right to
        return "copy"
    return "link"


def relative_place(name: str) -> PurePosixPath:
    """Return a photo's name as a path that stays below the folder it is joined to."""
    parts = [part for part in PurePosixPath(name).parts if part not in ("/", "..")]
    return PurePosixPath(*parts)


def free_target(
    wanted: Path, taken: set[str], *, same_stem: bool = False, replaces: bool = False
) -> Path:
    """Return `wanted`, or with "-2", "-3", ... before its suffix if that place is not free.

    Args:
        wanted: the first choice
        taken: places that are promised already, in the form of `str.casefold`, as some disks do
            not tell case; gets this one
        same_stem: whether 1.jpg takes the place of 1.png, too
        replaces: whether the place of a file that is there already is free
    """
    target = wanted
    number = 1
    while _key(target, same_stem) in taken or (not replaces and os.path.lexists(target)):
        number += 1
        target = wanted.with_name(f"{wanted.stem}-{number}{wanted.suffix}")
    taken.add(_key(target, same_stem))
    return target


def write_list(placements: Sequence[Placement], folder: Path) -> Path:
    """Write the list that undoes placements into `folder` and return its path.

    Raises:
        OSError: it cannot be written
    """
    time = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    list_file = free_target(folder / f"undo-{time}.jsonl", set())
    # Names that are no UTF-8 are kept as JSON escapes of lone surrogates.
    rows = [
        json.dumps({"action": one.action, "source": str(one.source), "target": str(one.target)})
        for one in placements
    ]
    write_text(list_file, "".join(f"{row}\n" for row in rows))
    return list_file


def carry_out(placements: Sequence[Placement]) -> Outcome:
    """Put photos into their places, as far as these are free; call `write_list` before."""
    outcome = Outcome()
    for placement in placements:
        try:
            _place(placement.action, placement.source, placement.target)
            outcome.done += 1
        except OSError as error:
            outcome.left_out.append((str(placement.source), _reason(error)))
    _sync(placements)
    return outcome


def undo(list_file: Path) -> Outcome:
    """Undo a list, as far as it was carried out; then remove it, unless something is left.

    Photos that were moved go back. Links go, and copies that nobody changed. Whatever a person did
    meanwhile stays as it is, and is told.

    Raises:
        DataError: it is no such list
    """
    outcome = Outcome()
    placements = _read_list(list_file)
    for placement in reversed(placements):
        try:
            if _undo_one(placement):
                outcome.done += 1
        except OSError as error:
            outcome.left_out.append((str(placement.target), _reason(error)))
    _sync(placements)
    _remove_empty_folders(placements, list_file.parent.absolute())
    if not outcome.left_out:
        list_file.unlink()
    return outcome


def _key(target: Path, same_stem: bool) -> str:
    return str(target.with_suffix("") if same_stem else target).casefold()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)


def _read_list(list_file: Path) -> list[Placement]:
    try:
        lines = list_file.read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        placements = [
            Placement(row["action"], Path(row["source"]), Path(row["target"])) for row in rows
        ]
    except OSError as error:
        raise DataError(f"Cannot read {list_file}: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(
            f"{list_file} is no list of photos that annotate placed, or is damaged; expected its"
            " file undo-....jsonl."
        ) from error
    if not all(
        one.action in _ACTIONS and one.source.is_absolute() and one.target.is_absolute()
        for one in placements
    ):
        raise DataError(f"{list_file} is no list of photos that annotate placed, or is damaged.")
    return placements


def _place(action: Action, source: Path, target: Path) -> None:
    """Put one photo into its place. Raises OSError, FileExistsError if the place is not free."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if action == "link":
        target.symlink_to(source)
        return
    os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        if action == "copy":
            _copy(source, target)
        elif not _rename(source, target):
            _copy(source, target)
            source.unlink()
    except OSError:  # not for Ctrl-C: it may come after the photo has moved
        target.unlink()
        raise


def _rename(source: Path, target: Path) -> bool:
    """Rename over the place that was taken; return False if that is another file system."""
    try:
        source.replace(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as content:
        write_atomic(target, lambda file: shutil.copyfileobj(content, file))
    with suppress(OSError):  # a time that cannot be set is no reason to lose the copy
        status = source.stat()
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _undo_one(placement: Placement) -> bool:
    """Undo one line; return False if it was never carried out. Raises OSError with the reason."""
    source, target = placement.source, placement.target
    if not os.path.lexists(target):
        if placement.action == "move" and not os.path.lexists(source):
            raise OSError("it is in neither place")
        return False
    if placement.action == "link":
        if not target.is_symlink() or target.readlink() != source:
            raise OSError("it is another file now")
        target.unlink()
    elif not os.path.lexists(source):
        if placement.action == "copy":
            raise OSError(f"the original {source} is gone, so this copy stays")
        _place("move", target, source)
    else:  # a copy, or a move that was interrupted
        is_reserved = target.stat().st_size == 0
        if not is_reserved and not filecmp.cmp(source, target, shallow=False):
            raise OSError(f"it differs from {source}")
        target.unlink()
        return placement.action == "copy"
    return True


def _sync(placements: Sequence[Placement]) -> None:
    """Make it last after a power cut."""
    folders = {one.target.parent for one in placements}
    folders |= {one.source.parent for one in placements if one.action == "move"}
    for folder in sorted(folders):
        with suppress(OSError):  # it may be gone, or not ours to open
            sync_directory(folder)


def _remove_empty_folders(placements: Sequence[Placement], top: Path) -> None:
    """Remove the folders of targets that are empty now, but for `top`."""
    folders = {
        folder for one in placements for folder in one.target.parents if top in folder.parents
    }
    for folder in sorted(folders, key=lambda one: len(one.parts), reverse=True):
        with suppress(OSError):  # not empty
            folder.rmdir()
