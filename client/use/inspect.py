"""`flower-client inspect`: pieces that are unlike good ones, and the kind of their defect."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import Combine, Device, Model, Photos, open_model
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.inspection.defects import DefectHead
    from fedshelf.common.inference.inspection.good_pieces import GoodPieces
    from fedshelf.common.inference.predictors.photos import NamedPhoto
    from fedshelf.common.inference.predictors.predictor import Floats, Predictor


@dataclass(frozen=True)
class Inspected:
    """A piece that was inspected.

    Attributes:
        photo: its name
        verdict: good, unusual, or defect
        defect: its kind, if it is one; else empty
        distance: to the nearest good piece, 0 to 2
        limit: distance from which on a piece is unusual
    """

    photo: str
    verdict: str
    defect: str
    distance: float
    limit: float


def inspect(
    model: Model,
    photos: Photos,
    good: Annotated[Path, typer.Option(help="Folder of photos of good pieces, for comparison.")],
    defects: Annotated[
        Path | None,
        typer.Option(
            help="Folder with a sub-folder of photos for each kind of defect, or of one kind."
        ),
    ] = None,
    false_alarms: Annotated[
        float,
        typer.Option(help="Share of good pieces that may be reported, above 0 and below 1."),
    ] = 0.05,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each photo.")
    ] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a table to this CSV file.")
    ] = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Report pieces that are unlike the good ones, and name the kinds of defects that it is shown.

    It sees what the model sees of a whole photo: take all photos of a product alike, so that the
    defect is what differs.
    """
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.inspection.good_pieces import learn_good_pieces
    from fedshelf.common.inference.predictors.photos import list_photos

    if not 0 < false_alarms < 1:
        raise ConfigError(
            f"--false-alarms got {false_alarms}; expected a share above 0 and below 1, as in 0.05."
        )
    left_out: LeftOut = []
    predictor = open_model(model, combine, device)
    good_photos, good_embeddings = _embed(predictor, list(list_photos([good], left_out)), left_out)
    pieces = learn_good_pieces(good_embeddings, false_alarms)
    remarks = [_limit_sentence(pieces)]
    head = None
    if defects is not None:
        head, sentence = _learn_defects(predictor, defects, good_embeddings, left_out)
        remarks.append(sentence)
    found, embeddings = _embed(predictor, list(list_photos(photos, left_out)), left_out)
    rows = _inspect(found, embeddings, pieces, head)
    if csv_file is not None:
        _write_csv(csv_file, rows)
    for row in rows:
        typer.echo(json.dumps(asdict(row), ensure_ascii=False) if as_json else _line(row))
    known = {photo.path.resolve() for photo in good_photos}
    if again := sum(photo.path.resolve() in known for photo in found):
        remarks.append(
            f"{format_count(again, 'photo')} to inspect also in {good}: these say nothing."
        )
    counts = Counter(row.verdict for row in rows)
    remarks.append(
        f"{format_count(len(rows), 'photo')}: {counts['good']} good, {counts['unusual']} unusual"
        + ("." if head is None else f", {counts['defect']} with a known defect.")
    )
    for sentence in remarks:
        typer.echo(printable(sentence), err=True)
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)


def _embed(
    predictor: "Predictor", photos: Sequence["NamedPhoto"], left_out: "LeftOut"
) -> tuple[list["NamedPhoto"], "Floats"]:
    """Return the photos that can be read, each file once, with their embeddings [N, D].

    Raises DataError if there is none.
    """
    import numpy as np

    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.predictors.photos import distinct, predict_photos

    read: list[NamedPhoto] = []
    embeddings = []
    with photo_progress(len(photos)) as done:
        for batch, _, predictions in predict_photos(predictor, distinct(photos), left_out, done):
            read += batch
            embeddings.append(predictions.embeddings)
    if not read:
        raise DataError(
            f"No photo could be read ({format_left_out(left_out) or 'there is none'}); expected"
            " JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
        )
    return read, np.concatenate(embeddings)


def _limit_sentence(pieces: "GoodPieces") -> str:
    low, high = pieces.false_alarms
    return (
        f"{len(pieces.directions)} good pieces, each compared with the others:"
        f" {pieces.beyond} beyond the limit {pieces.limit:.3f}. So of further good pieces"
        f" {low:.1%} to {high:.1%} (95%) will be reported as unusual."
    )


def _learn_defects(
    predictor: "Predictor", folder: Path, good_embeddings: "Floats", left_out: "LeftOut"
) -> tuple["DefectHead", str]:
    """Return the head that tells good pieces and kinds of defects, and a sentence on how well.

    Its class of good pieces is called "", as no folder is.
    """
    import numpy as np

    from fedshelf.common.inference.inspection.defects import learn_defects
    from fedshelf.common.inference.predictors.photos import list_photos
    from fedshelf.common.metrics.proportions import wilson_interval

    photos, embeddings = _embed(predictor, list(list_photos([folder], left_out)), left_out)
    kinds = [photo.folders[1] if len(photo.folders) > 1 else "" for photo in photos]
    if not any(kinds):
        kinds = [folder.resolve().name] * len(photos)
    if not all(kinds):
        raise DataError(
            f"{folder} has photos beside its sub-folders ({photos[kinds.index('')].name}); expected"
            " a sub-folder for each kind of defect, or photos of one kind alone."
        )
    labels = [""] * len(good_embeddings) + kinds
    head = learn_defects(np.concatenate([good_embeddings, embeddings]), labels)
    pairs = list(zip(labels, head.left_out_guesses, strict=True))
    right = sum(label == guess for label, guess in pairs)
    low, high = wilson_interval(right / len(pairs), len(pairs))
    missed = sum(label != "" and guess == "" for label, guess in pairs)
    wrong = sum(label == "" and guess != "" for label, guess in pairs)
    return head, (
        f"Each piece judged by all others: {right} of {len(pairs)} right ({low:.1%} to {high:.1%},"
        f" 95%), {missed} of {len(kinds)} defects taken for good, {wrong} of"
        f" {len(good_embeddings)} good ones for a defect."
    )


def _inspect(
    photos: Sequence["NamedPhoto"],
    embeddings: "Floats",
    pieces: "GoodPieces",
    head: "DefectHead | None",
) -> list[Inspected]:
    defects = [""] * len(photos) if head is None else head.classify(embeddings)
    distances = pieces.distances(embeddings).tolist()
    rows = []
    for photo, defect, distance in zip(photos, defects, distances, strict=True):
        is_unusual = distance > pieces.limit
        verdict = "defect" if defect else "unusual" if is_unusual else "good"
        rows.append(Inspected(photo.name, verdict, defect, round(distance, 6), pieces.limit))
    return rows


def _line(row: Inspected) -> str:
    verdict = row.defect or row.verdict
    return printable(f"{row.photo}: {verdict} (distance {row.distance:.3f}, limit {row.limit:.3f})")


def _write_csv(path: Path, rows: Sequence[Inspected]) -> None:
    from fedshelf.common.system.files import write_text

    table = [asdict(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_text(path, text.getvalue())
