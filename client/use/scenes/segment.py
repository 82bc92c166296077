"""`flower-client segment`: which pixels of photos are of products."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import Device, Photos
from fedshelf.client.use.arguments.scene_arguments import (
    check_output,
    whole_photos,
    write_picture,
)
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.predictors.photos import NamedPhoto


def segment(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL",
            help=(
                "A mask network: the directory of a run, its model.safetensors, an exported ONNX"
                " file, or a release."
            ),
        ),
    ],
    photos: Photos,
    masks: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write a PNG for each photo: 1 is a product, 0 is none."),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each photo with its background pale."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each photo.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Tell which pixels of photos are of products, by a mask network.

    It does not tell one product from the next; locate does.
    """
    from fedshelf.common.inference.loading import load_masks
    from fedshelf.common.inference.masks.mask_pictures import faded
    from fedshelf.common.inference.masks.mask_predictor import product_pixels
    from fedshelf.common.inference.predictors.photos import distinct, list_photos

    left_out: LeftOut = []
    found = distinct(list_photos(photos, left_out))
    check_output("--masks", masks, found)
    check_output("--pictures", pictures, found)
    files = {} if masks is None else _mask_files(masks, found)
    predictor = load_masks(model, device)
    taken: set[str] = set()
    done = 0
    for photo, image in whole_photos(found, left_out):
        pixels = product_pixels(predictor, image)
        file = files.get(photo.path)
        if file is not None:
            _write_mask(file, pixels)
        if pictures is not None:
            write_picture(pictures, photo.name, faded(image, pixels), taken)
        share = float(pixels.mean())
        if as_json:
            told = {"photo": photo.name, "width": image.width, "height": image.height}
            told |= {"share": round(share, 4), "mask": None if file is None else str(file)}
            typer.echo(json.dumps(told, ensure_ascii=False))
        else:
            typer.echo(printable(f"{photo.name}: {share:.1%} of the photo shows products"))
        done += 1
    _tell(done, left_out)


def _tell(photos: int, left_out: "LeftOut") -> None:
    """Print the sentences below the list. Raises DataError if no photo could be read."""
    from fedshelf.common.images.folder.left_out import format_left_out

    if not photos:
        raise DataError(
            f"No photo could be read ({format_left_out(left_out) or 'there is none'}); expected"
            " JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC files."
        )
    typer.echo(f"{format_count(photos, 'photo')}.", err=True)
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)


def _mask_files(folder: Path, photos: "Sequence[NamedPhoto]") -> dict[Path, Path]:
    """Return the mask's file for each photo's, no two the same.

    Raises:
        ConfigError: one is there already; a person may have corrected it.
    """
    from fedshelf.common.inference.labelling.placements import free_target, relative_place

    taken: set[str] = set()
    files = {}
    for photo in photos:
        wanted = folder / relative_place(photo.name).with_suffix(".png")
        files[photo.path] = free_target(wanted, taken, replaces=True)
    if there := [file for file in files.values() if os.path.lexists(file)]:
        raise ConfigError(
            f"--masks got {folder}, where {there[0]} exists, and nothing is overwritten; give"
            " another folder."
        )
    return files


def _write_mask(file: Path, pixels: "NDArray[np.bool_]") -> None:
    """Write a mask as the labels of scenes have it (see `common.scenes.formats.masks`)."""
    import numpy as np
    from PIL import Image

    from fedshelf.common.system.files import write_atomic

    file.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(pixels.astype(np.uint8))
    write_atomic(file, lambda stream: picture.save(stream, "PNG"))
