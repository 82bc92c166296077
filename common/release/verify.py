"""Check of a release before anything in it is used."""

import hashlib
from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.names import CARD_FILE, ENVELOPE_FILE, OWN_MODEL_FOLDER
from fedshelf.common.release.envelope import MAX_ENVELOPE_BYTES, ListedFile, open_envelope
from fedshelf.common.release.keys import pinned_keys

# beside the files that were signed: the list of them, and what a store made of the model
_NOT_LISTED = frozenset({ENVELOPE_FILE, OWN_MODEL_FOLDER})


def is_release(path: Path) -> bool:
    """Return whether a path is the folder of a release, be it whole or not."""
    return any((path / name).is_file() for name in (ENVELOPE_FILE, CARD_FILE))


def verify_release_of(file: Path) -> None:
    """Check the release that a file lies in, if any, before the file is parsed.

    Args:
        file: of a release, or of something else

    Raises:
        DataError: a file was changed, is missing or was added, or no pinned key signed them.
        ConfigError: the pinned keys cannot be read.
    """
    folder = file.parent
    if not is_release(folder):
        return
    try:
        _verify(folder)
    except OSError as error:
        raise DataError(f"Cannot read the release {folder} ({error.strerror or error}).") from error


def _hashed(file: Path) -> ListedFile:
    """Return hash and size of a file. Raises OSError."""
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return ListedFile(digest, opened.tell())


def _verify(folder: Path) -> None:
    """Raise DataError unless a folder holds the files that were signed; and OSError."""
    source = f"The release {folder}"
    if not (folder / ENVELOPE_FILE).is_file():
        raise DataError(f"{source} lacks its {ENVELOPE_FILE}; get the release once more.")
    with (folder / ENVELOPE_FILE).open("rb") as opened:
        content = opened.read(MAX_ENVELOPE_BYTES)
    listed = open_envelope(content, pinned_keys(), source)
    present = {entry.name: entry for entry in folder.iterdir() if entry.name not in _NOT_LISTED}
    for kind, names in (("lacks", listed.keys() - present), ("has also", present.keys() - listed)):
        if names:
            raise DataError(
                f"{source} {kind} {', '.join(sorted(names)[:3])}: these are not the files that were"
                " signed; get the release once more."
            )
    for name, expected in listed.items():
        file = present[name]
        if file.is_symlink() or not file.is_file() or _hashed(file) != expected:
            raise DataError(
                f"{source} is not as it was signed: {name} was changed or damaged; get the release"
                " once more."
            )
