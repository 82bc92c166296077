"""`flower-client classify`: the products on photos."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedshelf.client.use.model_arguments import (
    Combine,
    Device,
    Features,
    Model,
    Photos,
    open_with_index,
)
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.wording import printable

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.predictors.predictor import Predictor


@dataclass(frozen=True)
class Classified:
    """A photo with its classes.

    Attributes:
        photo: its name
        verdict: sure, unsure or unknown
        guesses: (class, probability), the most probable first
        label: the class that its folder names; None: it names none
    """

    photo: str
    verdict: str
    guesses: tuple[tuple[str, float], ...]
    label: str | None

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "photo": self.photo,
            "verdict": self.verdict,
            "guesses": [
                {"class": name, "probability": probability} for name, probability in self.guesses
            ],
            "label": self.label,
        }


def classify(
    model: Model,
    photos: Photos,
    top: Annotated[int, typer.Option(min=1, help="Classes told for each photo.")] = 3,
    unsure_below: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Probability below which a photo is unsure; 0.6 by default."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each photo.")
    ] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a table to this CSV file.")
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a table to this file.")] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index of the store's photos: what is not like them is unknown, which guards"
            " better than the model's own threshold."
        ),
    ] = None,
    features: Features = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Tell which products photos show, how sure the model is, and what it does not know.

    Probabilities are calibrated: of photos at 80%, four of five are right.
    """
    from fedshelf.common.images.folder.left_out import format_left_out

    left_out: LeftOut = []
    predictor = open_with_index(model, index, features, combine, device)
    rows = list(classified(predictor, photos, top, unsure_below, left_out))
    if not rows:
        raise DataError(
            f"No photo could be classified ({format_left_out(left_out) or 'there is none'});"
            " expected JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
        )
    if csv_file is not None:
        _write_csv(csv_file, rows)
    if parquet is not None:
        _write_parquet(parquet, rows)
    for row in rows:
        typer.echo(json.dumps(row.to_json(), ensure_ascii=False) if as_json else _line(row))
    for sentence in _summary(rows, left_out):
        typer.echo(sentence, err=True)


def classified(
    predictor: "Predictor",
    paths: Sequence[Path],
    top: int,
    unsure_below: float | None,
    left_out: "LeftOut",
) -> Iterable[Classified]:
    """Yield the photos in `paths` with their classes, while a bar tells how many are done.

    Args:
        predictor: the model
        paths: photos, folders and CSV files
        top: classes for each photo
        unsure_below: probability below which a photo is unsure; None: the usual one
        left_out: gets the files that could not be used, with the reason

    Raises:
        DataError: a path does not exist.
    """
    from fedshelf.client.use.progress import photo_progress
    from fedshelf.common.inference.predictors.photos import list_photos, predict_photos
    from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, verdicts

    found = list(list_photos(paths, left_out))
    names = predictor.description.class_names
    limit = UNSURE_BELOW if unsure_below is None else unsure_below
    with photo_progress(len(found)) as done:
        for photos, pixels, predictions in predict_photos(predictor, found, left_out, done):
            order = (-predictions.probabilities).argsort(axis=1, kind="stable")[:, :top]
            for row, verdict in enumerate(verdicts(predictions, pixels, limit)):
                yield Classified(
                    photos[row].name,
                    verdict,
                    tuple(
                        (names[index], float(predictions.probabilities[row, index]))
                        for index in order[row]
                    ),
                    _label(photos[row].label(predictor.description.classes), predictor),
                )


def _label(label: str | None, predictor: "Predictor") -> str | None:
    """Return a class by its name for people."""
    if label is None:
        return None
    return predictor.description.class_names[predictor.description.classes.index(label)]


def _line(row: Classified) -> str:
    guesses = ", ".join(f"{name} {probability:.1%}" for name, probability in row.guesses)
    return f"{printable(row.photo)}: {guesses}" + (
        "" if row.verdict == "sure" else f" ({row.verdict})"
    )


def _summary(rows: Sequence[Classified], left_out: "LeftOut") -> list[str]:
    """Return the sentences below the list."""
    from fedshelf.common.images.folder.left_out import format_left_out

    counts = {
        verdict: sum(row.verdict == verdict for row in rows)
        for verdict in ("sure", "unsure", "unknown")
    }
    sentences = [
        f"{len(rows)} photos: {counts['sure']} sure, {counts['unsure']} unsure,"
        f" {counts['unknown']} unknown."
    ]
    labelled = [row for row in rows if row.label is not None]
    if labelled:
        right = sum(row.guesses[0][0] == row.label for row in labelled)
        sentences.append(
            f"{len(labelled)} lie in folders of their classes: {right} of them"
            f" ({right / len(labelled):.1%}) are told rightly."
        )
    if left_out:
        sentences.append(f"Left out: {format_left_out(left_out)}.")
    return sentences


def _table(rows: Sequence[Classified]) -> list[dict[str, Any]]:
    """Return one flat row for each photo, with the columns of all guesses."""
    return [
        {"photo": row.photo, "verdict": row.verdict, "label": row.label}
        | {
            key: value
            for rank, (name, probability) in enumerate(row.guesses, start=1)
            for key, value in ((f"class_{rank}", name), (f"probability_{rank}", probability))
        }
        for row in rows
    ]


def _write_csv(path: Path, rows: Sequence[Classified]) -> None:
    from fedshelf.common.system.files import write_text

    table: list[Mapping[str, Any]] = list(_table(rows))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(path, text.getvalue())


def _write_parquet(path: Path, rows: Sequence[Classified]) -> None:
    if path.suffix != ".parquet":
        raise ConfigError(f"--parquet got {path}; expected a file that ends in .parquet.")
    import pyarrow
    from pyarrow import parquet

    from fedshelf.common.system.files import write_atomic

    table = pyarrow.Table.from_pylist(_table(rows))
    write_atomic(path, lambda file: parquet.write_table(table, file))
