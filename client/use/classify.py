"""`flower-client classify`: the products on photos and in videos."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedshelf.client.use.alarm_report import video_time
from fedshelf.client.use.arguments.model_arguments import (
    Combine,
    Device,
    Familiar,
    Features,
    Model,
    Photos,
    UnsureBelow,
    open_with_index,
)
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.predictors.photos import NamedPhoto
    from fedshelf.common.inference.predictors.predictor import Floats, Predictor


@dataclass(frozen=True)
class Classified:
    """A photo or video with its classes.

    Attributes:
        photo: its name
        verdict: sure, unsure or unknown
        guesses: (class, probability), the most probable first; of a video, means over its frames
        label: the class that its folder names; None: it names none
        seen: of a video, (first second, last second, class or verdict)
    """

    photo: str
    verdict: str
    guesses: tuple[tuple[str, float], ...]
    label: str | None
    seen: tuple[tuple[float, float, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "photo": self.photo,
            "verdict": self.verdict,
            "guesses": [
                {"class": name, "probability": probability} for name, probability in self.guesses
            ],
            "label": self.label,
        } | (
            {"seen": [{"from": first, "to": last, "what": what} for first, last, what in self.seen]}
            if self.seen
            else {}
        )


def classify(
    model: Model,
    photos: Photos,
    top: Annotated[int, typer.Option(min=1, help="Classes told for each photo.")] = 3,
    unsure_below: UnsureBelow = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each photo.")
    ] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a table to this CSV file.")
    ] = None,
    parquet: Annotated[Path | None, typer.Option(help="Write a table to this file.")] = None,
    index: Familiar = None,
    features: Features = None,
    every: Annotated[
        float, typer.Option(min=0, help="Seconds between the frames of a video that are used.")
    ] = 1.0,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Tell which products photos and videos show, how sure the model is, and what it does not know.

    Probabilities are calibrated: of photos at 80%, four of five are right.
    """
    from fedshelf.common.images.folder.left_out import format_left_out

    left_out: LeftOut = []
    predictor = open_with_index(model, index, features, combine, device)
    rows = list(classified(predictor, photos, top, unsure_below, left_out, every))
    if not rows:
        raise DataError(
            f"No photo could be classified ({format_left_out(left_out) or 'there is none'});"
            " expected JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files, or videos."
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
    every: float,
) -> Iterable[Classified]:
    """Yield the photos and videos in `paths` with their classes, while a bar tells how many are
    done.

    Args:
        predictor: the model
        paths: photos, videos, folders and CSV files
        top: classes for each photo
        unsure_below: probability below which a photo is unsure; None: the usual one
        left_out: gets the files that could not be used, with the reason
        every: seconds between the frames of a video that are used

    Raises:
        DataError: a path does not exist.
    """
    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.images.listing.folder_entries import is_photo
    from fedshelf.common.inference.predictors.photos import list_photos, predict_photos
    from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, verdicts
    from fedshelf.common.inference.video.source import is_video

    found = list(list_photos(paths, left_out, lambda name: is_photo(name) or is_video(name)))
    videos = [file for file in found if is_video(file.path.name)]
    files = [file for file in found if not is_video(file.path.name)]
    limit = UNSURE_BELOW if unsure_below is None else unsure_below
    with photo_progress(len(found)) as done:
        for photos, pixels, predictions in predict_photos(predictor, files, left_out, done):
            for row, verdict in enumerate(verdicts(predictions, pixels, limit)):
                yield Classified(
                    photos[row].name,
                    verdict,
                    _guesses(predictions.probabilities[row], top, predictor),
                    _label(photos[row], predictor),
                )
        for video in videos:
            yield from _classified_video(predictor, video, top, limit, left_out, every)
            done(1)


def _classified_video(
    predictor: "Predictor",
    video: "NamedPhoto",
    top: int,
    limit: float,
    left_out: "LeftOut",
    every: float,
) -> Iterable[Classified]:
    """Yield the video; or nothing, if no frame can be read."""
    from fedshelf.common.inference.video.frames import sampled_frames
    from fedshelf.common.inference.video.observations import observe
    from fedshelf.common.inference.video.source import file_source
    from fedshelf.common.inference.video.summary import summarize

    frames = sampled_frames(file_source(video.path, video.name), every)
    try:
        summary = summarize(observe(predictor, frames, unsure_below=limit))
    except (ConfigError, DataError) as error:  # ConfigError: PyAV is not installed
        left_out.append((video.name, _reason(str(error), video)))
        return
    if summary.fault:
        left_out.append((f"a part of {video.name}", _reason(summary.fault, video)))
    names = predictor.description.class_names
    yield Classified(
        video.name,
        summary.verdict,
        _guesses(summary.probabilities, top, predictor),
        _label(video, predictor),
        tuple(
            (
                round(part.first, 3),
                round(part.last, 3),
                names[part.index] if part.verdict == "sure" else part.verdict,
            )
            for part in summary.intervals
        ),
    )


def _reason(sentence: str, video: "NamedPhoto") -> str:
    """Return a sentence on a video without its name and full stop."""
    return sentence.removeprefix(video.name).strip(" .")


def _guesses(
    probabilities: "Floats", top: int, predictor: "Predictor"
) -> tuple[tuple[str, float], ...]:
    """Return the most probable classes by their names for people, of float32 [C]."""
    names = predictor.description.class_names
    order = (-probabilities).argsort(kind="stable")[:top]
    return tuple((names[index], float(probabilities[index])) for index in order)


def _label(file: "NamedPhoto", predictor: "Predictor") -> str | None:
    """Return the class that a file's folders name, by its name for people."""
    label = file.label(predictor.description.classes)
    if label is None:
        return None
    return predictor.description.class_names[predictor.description.classes.index(label)]


def _line(row: Classified) -> str:
    guesses = ", ".join(f"{name} {probability:.1%}" for name, probability in row.guesses)
    seen = _seen(row, ", ")
    return (
        f"{printable(row.photo)}: {guesses}"
        + ("" if row.verdict == "sure" else f" ({row.verdict})")
        + (f"; {seen}" if seen else "")
    )


def _seen(row: Classified, separator: str) -> str:
    return separator.join(
        f"{what} {video_time(first)} to {video_time(last)}" for first, last, what in row.seen
    )


def _count(rows: Sequence[Classified]) -> str:
    videos = sum(bool(row.seen) for row in rows)
    counts = [(len(rows) - videos, "photo"), (videos, "video")]
    return format_list([format_count(count, what) for count, what in counts if count])


def _summary(rows: Sequence[Classified], left_out: "LeftOut") -> list[str]:
    """Return the sentences below the list."""
    from fedshelf.common.images.folder.left_out import format_left_out

    counts = {
        verdict: sum(row.verdict == verdict for row in rows)
        for verdict in ("sure", "unsure", "unknown")
    }
    sentences = [
        f"{_count(rows)}: {counts['sure']} sure, {counts['unsure']} unsure,"
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
    """Return one flat row for each photo, with the columns of all guesses.

    If there are videos, a column has what is seen when, as "red 0:00:05.0 to 0:00:10.0; ...".
    """
    has_videos = any(row.seen for row in rows)
    return [
        {"photo": row.photo, "verdict": row.verdict, "label": row.label}
        | {
            key: value
            for rank, (name, probability) in enumerate(row.guesses, start=1)
            for key, value in ((f"class_{rank}", name), (f"probability_{rank}", probability))
        }
        | ({"seen": _seen(row, "; ")} if has_videos else {})
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
