"""Photos in one folder per class, as training takes them.

Photos without a class lie in `unlabelled`, which no class can be called: training takes them as
photos without a class (`common.images.folder.scan`).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedshelf.common.images.folder.scan import UNLABELLED, is_unlabelled
from fedshelf.common.inference.labelling.guesses import Guess
from fedshelf.common.inference.labelling.placements import Action, Placement, free_target

# characters and names that Windows or a path does not allow, and what would be hidden
_UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f]|^\.|[. ]+$')
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_MAX_BYTES = 200  # file systems allow 255


def folder_names(classes: Sequence[str]) -> dict[str, str]:
    """Return the folder of each class: its name, or one like it that every disk allows.

    All are different, on disks that do not tell case, too.
    """
    folders: dict[str, str] = {}
    taken: set[str] = set()
    for name in classes:
        fit = _UNFIT.sub("_", name).encode()[:_MAX_BYTES].decode(errors="ignore") or "_"
        if _DEVICES.fullmatch(fit) or is_unlabelled(fit):
            fit += "_"
        folder = fit
        number = 1
        while folder.casefold() in taken:
            number += 1
            folder = f"{fit}-{number}"
        taken.add(folder.casefold())
        folders[name] = folder
    return folders


def folder_of(guess: Guess, names: Mapping[str, str]) -> Path:
    """Return the folder of a photo, relative to that of all: by class if the model is sure."""
    return Path(names[guess.label]) if guess.verdict == "sure" else Path(UNLABELLED, guess.verdict)


def plan(
    guesses: Sequence[Guess], classes: Sequence[str], folder: Path, action: Action
) -> list[Placement]:
    """Return where each photo goes; photos of one name get different ones.

    Args:
        guesses: the photos
        classes: all classes
        folder: of the class folders
        action: link, copy or move
    """
    names = folder_names(classes)
    taken: set[str] = set()
    return [
        Placement(
            action,
            guess.path.absolute(),
            free_target(folder.absolute() / folder_of(guess, names) / guess.path.name, taken),
        )
        for guess in guesses
    ]
