"""`flower-client locate`: the products of scenes, in boxes."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
    open_namer,
    open_reader,
    whole_photos,
    write_picture,
)
from fedshelf.client.use.scenes.label_files import labelled_scene, write_coco, write_yolo
from fedshelf.common.errors import DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.scenes.products import LocatedProduct
    from fedshelf.common.scenes.formats.labelled_scene import LabelledScene

COLUMNS = (
    "photo",
    "left",
    "top",
    "right",
    "bottom",
    "score",
    "verdict",
    "class",
    "probability",
)


@dataclass(frozen=True)
class LocatedScene:
    """A photo with its products.

    Attributes:
        photo: its name
        width: in pixels, upright
        height: in pixels, upright
        products: the surest first
    """

    photo: str
    width: int
    height: int
    products: "Sequence[LocatedProduct]"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "photo": self.photo,
            "width": self.width,
            "height": self.height,
            "products": [product.to_json() for product in self.products],
        }


def locate(
    model: LocatorModel,
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
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a row for each product to this CSV file.")
    ] = None,
    coco: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write the boxes to coco.json in this folder."),
    ] = None,
    yolo: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write images (links), labels and class names for YOLO."),
    ] = None,
    pictures: Pictures = None,
    device: Device = "auto",
) -> None:
    """Find the products on photos of shelves; a classifier, or a locator with classes, names them.

    Boxes are in pixels of the upright photo, from its upper left corner.
    """
    from fedshelf.common.inference.predictors.photos import distinct, list_photos
    from fedshelf.common.inference.scenes.drawing import draw, product_marks

    left_out: LeftOut = []
    found = distinct(list_photos(photos, left_out))
    check_output("--pictures", pictures, found)
    namer = open_namer(classifier, index, features, device)
    reader = open_reader(model, namer, score, tiles, unsure_below, device)
    show = (lambda scene: json.dumps(scene.to_json(), ensure_ascii=False)) if as_json else _line
    scenes: list[LocatedScene] = []
    labelled: list[LabelledScene] = []
    taken: set[str] = set()
    for photo, image in whole_photos(found, left_out):
        read = reader.read(image)
        scenes.append(LocatedScene(photo.name, *image.size, read.products))
        labelled.append(labelled_scene(photo.name, photo.path, image.size, read))
        typer.echo(show(scenes[-1]))
        if pictures is not None:
            write_picture(pictures, photo.name, draw(image, product_marks(read.products)), taken)
    classes = reader.class_names
    if scenes and csv_file is not None:
        _write_csv(csv_file, scenes)
    if scenes and coco is not None:
        write_coco(coco, labelled, classes)
    if scenes and yolo is not None:
        write_yolo(yolo, labelled, classes)
    _tell(scenes, left_out)


def _tell(scenes: Sequence[LocatedScene], left_out: "LeftOut") -> None:
    """Print the sentences below the list. Raises DataError if no photo could be read."""
    from fedshelf.common.images.folder.left_out import format_left_out

    if not scenes:
        raise DataError(
            f"No photo could be read ({format_left_out(left_out) or 'there is none'}); expected"
            " JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
        )
    products = sum(len(scene.products) for scene in scenes)
    typer.echo(
        f"{format_count(len(scenes), 'photo')}: {format_count(products, 'product')}.", err=True
    )
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)


def _line(scene: LocatedScene) -> str:
    """Return a photo's products in words: sure ones by name, the others by verdict."""
    named: Counter[str] = Counter()
    others: Counter[str] = Counter()
    for product in scene.products:
        if product.verdict == "sure" and product.name is not None:
            named[product.name] += 1
        elif product.verdict is not None:
            others[product.verdict] += 1
    counts = [f"{name} {count}" for name, count in named.most_common()]
    counts += [f"{count} {verdict}" for verdict, count in sorted(others.items(), reverse=True)]
    told = f": {', '.join(counts)}" if counts else ""
    return printable(f"{scene.photo}: {format_count(len(scene.products), 'product')}{told}")


def _write_csv(path: Path, scenes: Sequence[LocatedScene]) -> None:
    from fedshelf.common.system.files import write_text

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for scene in scenes:
        for product in scene.products:
            edges = [round(edge, 2) for edge in product.box]
            name, probability = product.guesses[0] if product.guesses else ("", None)
            row = [scene.photo, *edges, round(product.score, 4), product.verdict, name]
            writer.writerow([*row, "" if probability is None else round(probability, 4)])
    write_text(path, text.getvalue())
