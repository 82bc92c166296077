"""`flower-client count`: how many pieces of each class there are, and what changed."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from fedshelf.client.use.arguments.scene_arguments import (
    Score,
    Tiles,
    check_shelf_options,
    open_reader,
    whole_photos,
)
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.counting.stock import Change, Stock
    from fedshelf.common.inference.predictors.photos import NamedPhoto
    from fedshelf.common.inference.predictors.predictor import Predictor
    from fedshelf.common.inference.scenes.scene_reader import SceneReader

ShelfLocator = Annotated[
    Path | None,
    typer.Option(
        metavar="MODEL",
        help="A locator: photos show shelves, and each product that it finds is a piece.",
    ),
]


def count(
    model: Model,
    photos: Photos,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Only photos taken from then on, in local time: 2026-11-29 or 2026-11-29T14:30.",
        ),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only photos taken until then; a day is included."),
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(help="Tell what changed since an earlier count, a file of --json."),
    ] = None,
    locator: ShelfLocator = None,
    score: Score = None,
    tiles: Tiles = None,
    index: Familiar = None,
    features: Features = None,
    unsure_below: UnsureBelow = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, which --compare takes later.")
    ] = False,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write the table to this CSV file.")
    ] = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Count the pieces of each class on photos that show one piece each, or shelves (--locator).

    "counted" are photos of which the model is sure. "likely" spreads unsure photos over their
    classes, and "95%" is the interval of the true number. Unknown photos count for no class. The
    camera says when a photo was taken (EXIF), or else the time of the file's last change.
    """
    from fedshelf.common.inference.counting.stock import changes

    period = _period(since, until)
    earlier = None if compare is None else _read_stock(compare)
    left_out: LeftOut = []
    remarks: list[str] = []
    check_shelf_options(locator, score, tiles)
    predictor = open_with_index(model, index, features, combine, device)
    within = _within(photos, *period, left_out, remarks)
    if locator is None:
        stock = _count(predictor, within, unsure_below, left_out)
        totals = {"photos": stock.pieces}
    else:
        shelf = open_reader(locator, predictor, score, tiles, unsure_below, device)
        stock, shelves = _count_shelves(shelf, within, left_out, remarks)
        totals = {"photos": shelves, "products": stock.pieces}
    found = [] if earlier is None or compare is None else changes(earlier, stock, compare)
    if csv_file is not None:
        _write_csv(csv_file, stock, found)
    lines = _lines(stock, found, "photos" if locator is None else "products")
    if as_json:
        value = {"since": since, "until": until} | totals | _as_json(stock, found)
        lines = [json.dumps(value, ensure_ascii=False, indent=1)]
    typer.echo("\n".join(lines))
    _tell([*remarks, *_change_sentences(found, compare)], left_out)


def _tell(sentences: Sequence[str], left_out: "LeftOut") -> None:
    """Print what is to be said beside the table, on stderr."""
    from fedshelf.common.images.folder.left_out import format_left_out

    for sentence in sentences:
        typer.echo(sentence, err=True)
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)


def _period(since: str | None, until: str | None) -> tuple[datetime | None, datetime | None]:
    """Return the first and the last moment that count. Raises ConfigError."""
    start = None if since is None else _moment(since, "--since", time.min)
    end = None if until is None else _moment(until, "--until", time.max)
    if start and end and start > end:
        raise ConfigError(f"--since {since} is later than --until {until}.")
    return start, end


def _moment(text: str, option: str, time_of_day: time) -> datetime:
    """Return the time that an option tells; a day without one has `time_of_day`."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is not None:
        raise ConfigError(
            f"{option} got {text!r}; expected a day or a time without a zone, as cameras tell it:"
            " 2026-11-29 or 2026-11-29T14:30."
        )
    return datetime.combine(moment, time_of_day) if len(text) <= len("2026-11-29") else moment


def _within(
    paths: Sequence[Path],
    start: datetime | None,
    end: datetime | None,
    left_out: "LeftOut",
    remarks: list[str],
) -> list["NamedPhoto"]:
    """Return the photos that were taken from `start` to `end`, each file once.

    Args:
        paths: photos, folders and CSV files
        start: None: there is no limit
        end: None: there is no limit
        left_out: gets files that are not there
        remarks: gets sentences on who told the times
    """
    from fedshelf.common.images.decoding.header import time_taken
    from fedshelf.common.inference.predictors.photos import distinct, list_photos

    found = distinct(list_photos(paths, left_out))
    if start is None and end is None:
        return found
    within = []
    sources: Counter[str] = Counter()
    for photo in found:
        try:
            taken, source = time_taken(photo.path)
        except OSError as error:
            left_out.append((photo.name, f"unreadable: {error.strerror}"))
            continue
        sources[source] += 1
        if (start is None or start <= taken) and (end is None or taken <= end):
            within.append(photo)
    outside = sources.total() - len(within)
    remarks.append(
        f"{format_count(len(within), 'photo')} in the period, {outside:,} outside of it. The time"
        f" of {sources['camera']:,} is the camera's, that of {sources['file']:,} the file's last"
        " change" + (", which copying may have set." if sources["file"] else ".")
    )
    if not within:
        raise DataError("No photo was taken in the period. " + remarks[-1])
    return within


def _count(
    predictor: "Predictor",
    photos: Sequence["NamedPhoto"],
    unsure_below: float | None,
    left_out: "LeftOut",
) -> "Stock":
    """Return the stock on photos. Raises DataError if none can be read."""
    import numpy as np

    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.inference.counting.stock import take_stock
    from fedshelf.common.inference.predictors.photos import predict_photos
    from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, Verdict, verdicts

    limit = UNSURE_BELOW if unsure_below is None else unsure_below
    probabilities = []
    told: list[Verdict] = []
    with photo_progress(len(photos)) as done:
        for _, pixels, predictions in predict_photos(predictor, photos, left_out, done):
            probabilities.append(predictions.probabilities)
            told += verdicts(predictions, pixels, limit)
    if not told:
        raise _no_photo(left_out)
    return take_stock(np.concatenate(probabilities), told, predictor.description.class_names)


def _no_photo(left_out: "LeftOut") -> DataError:
    from fedshelf.common.images.folder.left_out import format_left_out

    return DataError(
        f"No photo could be read ({format_left_out(left_out) or 'there is none'}); expected JPEG,"
        " PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
    )


def _count_shelves(
    reader: "SceneReader",
    photos: Sequence["NamedPhoto"],
    left_out: "LeftOut",
    remarks: list[str],
) -> tuple["Stock", int]:
    """Return the stock on photos of shelves, and how many of these were read.

    Raises:
        DataError: none can be read.
    """
    import numpy as np

    from fedshelf.common.inference.counting.stock import take_stock

    namings = []
    for _, image in whole_photos(photos, left_out):
        naming = reader.read(image).naming
        assert naming is not None  # the reader has a classifier
        namings.append(naming)
    if not namings:
        raise _no_photo(left_out)
    remarks.append(
        f"{format_count(len(namings), 'photo')} of shelves. The intervals are of the names:"
        " products that the locator missed, or boxes without a product, are not in them."
    )
    told = [verdict for naming in namings for verdict in naming.verdicts]
    probabilities = np.concatenate([naming.probabilities for naming in namings])
    return take_stock(probabilities, told, namings[0].names), len(namings)


def _read_stock(path: Path) -> "Stock":
    from fedshelf.common.inference.counting.stock import parse_stock

    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError):
        value = None
    return parse_stock(value, path)


def _as_json(stock: "Stock", found: Sequence["Change"]) -> dict[str, Any]:
    return stock.to_json() | ({"changes": [asdict(change) for change in found]} if found else {})


def _table(stock: "Stock", found: Sequence["Change"], pieces: str) -> list[list[str]]:
    """Return the cells of the table, its head first; `pieces` is what was counted, in words."""
    head = ["class", "counted", "likely", "95%"]
    head += ["earlier", "change", "change 95%"] if found else []
    rows = [
        [one.name, str(one.counted), f"{one.expected:.1f}", _range(one.low, one.high)]
        for one in stock.classes
    ]
    for row, change in zip(rows, found, strict=False):
        row += [
            f"{change.earlier:.1f}",
            f"{round(change.now - change.earlier, 1) + 0.0:+.1f}",
            _range(change.low, change.high, sign="+"),
        ]
    others = [
        ["(unsure)", str(stock.unsure)],
        ["(unknown)", str(stock.unknown)],
        [f"(all {pieces})", str(stock.pieces)],
    ]
    return [head, *rows, *[row + [""] * (len(head) - 2) for row in others]]


def _range(low: int, high: int, sign: str = "") -> str:
    return f"{low:{sign}}" if low == high else f"{low:{sign}} to {high:{sign}}"


def _lines(stock: "Stock", found: Sequence["Change"], pieces: str) -> list[str]:
    table = [[printable(cell) for cell in row] for row in _table(stock, found, pieces)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def _change_sentences(found: Sequence["Change"], compare: Path | None) -> list[str]:
    from fedshelf.common.inference.counting.stock import surely_fewer

    if not found:
        return []
    fewer = surely_fewer(found)
    if not fewer:
        return [f"Nothing is surely missing since {compare}."]
    names = [f"{one.name} ({_range(-one.high, -one.low)} fewer)" for one in fewer]
    return [f"Missing since {compare}: {', '.join(map(printable, names))}."]


def _write_csv(path: Path, stock: "Stock", found: Sequence["Change"]) -> None:
    from fedshelf.common.system.files import write_text

    columns = ["kind", "name", "counted", "expected", "low", "high"]
    columns += ["earlier", "change_low", "change_high"] if found else []
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for index, one in enumerate(stock.classes):
        change = (
            {
                "earlier": round(found[index].earlier, 3),
                "change_low": found[index].low,
                "change_high": found[index].high,
            }
            if found
            else {}
        )
        row = asdict(one) | {"kind": "class", "expected": round(one.expected, 3)}
        writer.writerow(row | change)
    for name, photos in (("unsure", stock.unsure), ("unknown", stock.unknown)):
        writer.writerow({"kind": "verdict", "name": name, "counted": photos})
    write_text(path, text.getvalue())
