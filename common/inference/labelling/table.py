"""CSV: a line for each photo, which a person completes in a spreadsheet.

The column `label` has the class if the model is sure, and else is empty for a person to fill in;
`guess` and `probability` tell what the model thinks. Our own loader takes the file as photos with
labels (`common.images.listing.tables`).
"""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from fedshelf.common.images.listing.tables import read_table
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.system.files import write_text

FILE = "guesses.csv"


def write(folder: Path, guesses: Sequence[Guess], _: Sequence[str]) -> list[Path]:
    """Write `guesses.csv`, with paths relative to it, and return it.

    Args:
        folder: of the file
        guesses: the photos
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image", "label", "verdict", "guess", "probability"])
    for guess in guesses:
        writer.writerow(
            [
                Path(os.path.relpath(guess.path.absolute(), folder.absolute())).as_posix(),
                guess.label if guess.verdict == "sure" else "",
                guess.verdict,
                guess.label,
                f"{guess.probability:.4f}",
            ]
        )
    write_text(folder / FILE, text.getvalue())
    return [folder / FILE]


def read(path: Path) -> list[NamedLabels]:
    """Return the photos of a CSV file; those without a label are listed without one.

    Raises:
        DataError: it cannot be read; see `common.images.listing.tables`
    """
    table = read_table(path)
    labelled = [
        NamedLabels(_name(path, row.image), frozenset({row.label.strip()})) for row in table.rows
    ]
    return labelled + [
        NamedLabels(_name(path, image), frozenset())
        for image, reason in table.left_out
        if reason == "no label"
    ]


def _name(path: Path, image: str) -> str:
    """Return the path of a photo that lies where the file says, else its name as it is."""
    file = path.parent / image
    return os.path.abspath(file) if file.is_file() else image  # noqa: PTH100, ".." goes, links stay
