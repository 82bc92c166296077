"""`flower-client planogram`: what stands on a shelf, compared with what should stand there."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedshelf.client.use.arguments.model_arguments import (
    Device,
    Familiar,
    Features,
    Photos,
    UnsureBelow,
)
from fedshelf.client.use.arguments.scene_arguments import (
    Classifier,
    LocatorModel,
    Pictures,
    Score,
    Tiles,
    check_output,
    naming_model,
    open_namer,
    open_reader,
    whole_photos,
    write_picture,
)
from fedshelf.common.errors import DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.scenes.shelf_check import PlaceFinding, ShelfFindings


def planogram(
    model: LocatorModel,
    plan: Annotated[
        Path,
        typer.Argument(
            metavar="PLAN",
            help=(
                "A CSV file of places: shelf,column,product (from 1, from the top and the left), or"
                " product,left,top,right,bottom (fractions of the photo)."
            ),
        ),
    ],
    photos: Photos,
    classifier: Classifier = None,
    score: Score = None,
    tiles: Tiles = None,
    index: Familiar = None,
    features: Features = None,
    unsure_below: UnsureBelow = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each photo.")
    ] = False,
    pictures: Pictures = None,
    device: Device = "auto",
) -> None:
    """Compare photos of one shelf with its planogram: gaps, wrong and doubtful products.

    A classifier, or a locator with classes, names what stands there. Each photo shows the whole
    shelf. Places by shelf and column need no fixed camera; rectangles are of one camera's view.
    """
    from fedshelf.common.inference.predictors.photos import distinct, list_photos
    from fedshelf.common.inference.scenes.drawing import draw, shelf_marks
    from fedshelf.common.inference.scenes.planogram import read_planogram
    from fedshelf.common.inference.scenes.shelf_check import check_shelf

    left_out: LeftOut = []
    found = distinct(list_photos(photos, left_out))
    check_output("--pictures", pictures, found)
    namer = open_namer(classifier, index, features, device)
    reader = open_reader(model, namer, score, tiles, unsure_below, device)
    naming = naming_model(reader, "A planogram")
    places = read_planogram(plan, naming.classes, naming.class_names)
    checked = 0
    taken: set[str] = set()
    for photo, image in whole_photos(found, left_out):
        findings = check_shelf(places, reader.read(image).products, *image.size)
        checked += 1
        if as_json:
            typer.echo(json.dumps(_as_json(photo.name, findings), ensure_ascii=False))
        else:
            for line in _lines(photo.name, findings):
                typer.echo(line)
        if pictures is not None:
            marks = shelf_marks(findings, *image.size)
            write_picture(pictures, photo.name, draw(image, marks), taken)
    _tell(checked, left_out)


def _tell(checked: int, left_out: "LeftOut") -> None:
    """Print what was left out. Raises DataError if no photo could be read."""
    from fedshelf.common.images.folder.left_out import format_left_out

    if not checked:
        raise DataError(
            f"No photo could be read ({format_left_out(left_out) or 'there is none'}); expected"
            " JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
        )
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)


def _as_json(photo: str, findings: "ShelfFindings") -> dict[str, Any]:
    return {
        "photo": photo,
        "places": [
            {
                "place": finding.place.name,
                "expected": finding.place.product,
                "outcome": finding.outcome,
                "seen": None if finding.product is None else finding.product.to_json(),
            }
            for finding in findings.places
        ],
        "extra": [product.to_json() for product in findings.extra],
    }


def _lines(photo: str, findings: "ShelfFindings") -> list[str]:
    """Return a sentence on a photo, and a line for each place that is not as it should be."""
    from fedshelf.common.inference.scenes.shelf_check import OUTCOMES

    counts = [f"{findings.count(outcome)} {outcome}" for outcome in OUTCOMES]
    extra = (
        f"; {format_count(len(findings.extra), 'product')} at no place" if findings.extra else ""
    )
    head = f"{photo}: {format_count(len(findings.places), 'place')}: {format_list(counts)}{extra}"
    return [printable(head), *_odd_places(findings.places)]


def _odd_places(places: "Sequence[PlaceFinding]") -> list[str]:
    lines = []
    for finding in places:
        expected = finding.place.product
        seen = finding.product
        if finding.outcome == "gap" or seen is None:
            lines.append(f"{finding.place.name}: gap, expected {expected}")
        elif finding.outcome == "unknown":
            lines.append(f"{finding.place.name}: an unknown product, expected {expected}")
        elif finding.outcome != "right":
            doubt = "perhaps " if finding.outcome == "unsure" else ""
            lines.append(f"{finding.place.name}: {doubt}{seen.name}, expected {expected}")
    return [f"  {printable(line)}" for line in lines]
