"""Check for classes that a person must confirm before training begins.

Each class of a model costs every store a row of the head, for good.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.classes.spelling import class_indices, normalize_name
from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.names import MAX_CLASS_CHARACTERS, MAX_CLASSES, is_class_name
from fedshelf.common.system.files import write_text

if TYPE_CHECKING:
    # loads torch, which the launcher does well without
    from fedshelf.common.protocol.messages import StoreInfo

UNCONFIRMED_CLASSES_FILE = "unconfirmed-classes.txt"  # in the run directory: a class a line
MAX_UNCONFIRMED_CLASSES = 300  # classes of a model that stores may settle among themselves
LIST_SUFFIX = ".txt"
MAX_NAMED_CLASSES = 5  # classes that the message names; it only counts the rest


def given(names_or_file: str) -> list[str]:
    """Return the classes that a person confirms.

    Raises ConfigError for a file that cannot be read or that has a line which is no class name.

    Args:
        names_or_file: names with commas between them, or the name of a .txt file with one class a
            line
    """
    if not names_or_file.endswith(LIST_SUFFIX):
        return [name for part in names_or_file.split(",") if (name := part.strip())]
    try:
        lines = Path(names_or_file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--confirm-classes got {names_or_file}, which cannot be read ({error}); expected a"
            " text file with a class a line, or names with commas between them."
        ) from None
    names = list(dict.fromkeys(line.removesuffix("\r") for line in lines if line.strip()))
    if len(names) > MAX_CLASSES or not all(map(is_class_name, names)):
        raise ConfigError(
            f"--confirm-classes got {names_or_file}; expected at most {MAX_CLASSES} lines, each the"
            f" name of a class in at most {MAX_CLASS_CHARACTERS} plain characters."
        )
    return names


def unconfirmed(
    config: RunConfig,
    classes: Sequence[str],
    known: Sequence[str],
    stores: Mapping[str, "StoreInfo"],
) -> dict[str, list[str]]:
    """Return the classes that a person must confirm, each with the stores that have it.

    A class that two stores have is accepted without that, as long as the model has at most
    MAX_UNCONFIRMED_CLASSES classes. Nothing needs to be confirmed if the settings give the classes,
    if the run begins with one store only, or in a simulation.

    Args:
        classes: those that the run would have
        known: those of the model that the run goes on from
    """
    if (
        config.data.classes
        or config.data.dataset != STORES_OWN
        or config.train.objective != "classes"
    ):
        return {}
    forms = {
        name: {normalize_name(label) for label in info.counts}
        for name, info in sorted(stores.items())
    }
    owners = {
        label: [name for name, own in forms.items() if normalize_name(label) in own]
        for label in classes
    }
    confirmed = class_indices(
        config.data.confirmed_classes, classes, merge=config.data.merge_spellings
    ).values()
    settled = {*known, *(classes[index] for index in confirmed)}
    are_many = len(classes) > MAX_UNCONFIRMED_CLASSES
    enough = min(2, len(stores))
    return {
        label: names
        for label, names in owners.items()
        if label not in settled and (are_many or len(names) < enough)
    }


def check(unconfirmed_classes: Mapping[str, Sequence[str]], directory: Path) -> None:
    """Check that no class is unconfirmed.

    Else the list is written to the run directory.

    Args:
        unconfirmed_classes: class -> the stores that have it, from `unconfirmed`

    Raises:
        OSError: the file cannot be written
    """
    file = directory / UNCONFIRMED_CLASSES_FILE
    if not unconfirmed_classes:
        file.unlink(missing_ok=True)
        return
    write_text(file, "".join(f"{label}\n" for label in unconfirmed_classes))
    named = [
        f"{label!r} ({', '.join(names[:3])})"
        for label, names in list(unconfirmed_classes.items())[:MAX_NAMED_CLASSES]
    ]
    more = (
        f" and {len(unconfirmed_classes) - MAX_NAMED_CLASSES} more"
        if len(unconfirmed_classes) > MAX_NAMED_CLASSES
        else ""
    )
    short = (
        list(unconfirmed_classes)
        if len(unconfirmed_classes) <= MAX_NAMED_CLASSES
        and all(re.fullmatch(r"[\w.-]+", label) for label in unconfirmed_classes)
        else []
    )
    flag = ",".join(short) or shlex.quote(str(file))
    alone = all(len(names) < 2 for names in unconfirmed_classes.values())
    why = (
        "only one store has each of them"
        if alone
        else f"a model has more than {MAX_UNCONFIRMED_CLASSES} classes only if a person wants that"
    )
    are = (
        "1 class needs"
        if len(unconfirmed_classes) == 1
        else f"{len(unconfirmed_classes)} classes need"
    )
    raise DataError(
        f"{are} a person's word before training begins, because {why}: {', '.join(named)}{more}."
        f" If they are products, run the same command again with --confirm-classes {flag} ({file}"
        " lists them; delete the lines of those that are none). If such a folder is there by"
        " mistake, have it moved away at its store, or name all classes with --classes."
    )
