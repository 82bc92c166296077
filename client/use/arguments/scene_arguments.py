"""The arguments that all commands on photos of scenes share, and the reading of these photos."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import open_with_index
from fedshelf.common.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from fedshelf.common.images.listing.folder_entries import LeftOut
    from fedshelf.common.inference.predictors.description import ModelDescription
    from fedshelf.common.inference.predictors.photos import NamedPhoto
    from fedshelf.common.inference.predictors.predictor import Predictor
    from fedshelf.common.inference.scenes.scene_reader import SceneReader

MOST_TILES = 12  # that --tiles takes; as `common.inference.scenes.locating.MAX_TILES`

LocatorModel = Annotated[
    Path,
    typer.Argument(
        metavar="MODEL",
        help=(
            "A locator: the directory of a run, its model.safetensors, an exported ONNX file, or a"
            " release."
        ),
    ),
]
Classifier = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL", help="A classifier, which names the products that the locator finds."
    ),
]
Score = Annotated[
    float | None,
    typer.Option(
        min=0.1,
        max=1,
        help=(
            "Score from which on a box counts, 0.1 to 1. By default the one with which the model"
            " counted validation photos best, or 0.3."
        ),
    ),
]
Tiles = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=MOST_TILES,
        help=(
            "Tiles in a row and in a column in which a photo is looked at; 1: as a whole. By"
            " default as many as make the boxes surest."
        ),
    ),
]
Pictures = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write each photo with its boxes into this folder."),
]


def check_shelf_options(locator: Path | None, score: float | None, tiles: int | None) -> None:
    """Raise ConfigError if options of a locator were given without one."""
    if locator is None and (score is not None or tiles is not None):
        raise ConfigError("--score and --tiles are for shelves: give --locator MODEL, too.")


def open_namer(
    classifier: str | None, index: Path | None, features: Path | None, device: str
) -> "Predictor | None":
    """Return the classifier that names products, with the familiarity of an index if there is one.

    Args:
        classifier: paths of one or several; None: products stay without names
        index: of the store's photos
        features: the model of the index, if it is another one
        device: of the computation

    Raises:
        ConfigError: an index without a classifier, or see `open_with_index`.
        DataError: a model or the index cannot be used, or they do not belong together.
    """
    if classifier is not None:
        return open_with_index(classifier, index, features, "mean", device)
    if index is not None or features is not None:
        raise ConfigError("--index and --features are for names: give --classifier MODEL, too.")
    return None


def open_reader(
    locator: Path,
    classifier: "Predictor | None",
    score: float | None,
    tiles: int | None,
    unsure_below: float | None,
    device: str,
) -> "SceneReader":
    """Return the reader of scenes that a command's options ask for.

    Args:
        locator: path of the locator
        classifier: names the products; None: there is none
        score: see `SceneReader`
        tiles: see `SceneReader`
        unsure_below: see `SceneReader`; None: the usual one
        device: of the computation

    Raises:
        ConfigError: `unsure_below` without a classifier, or there is no such device.
        DataError: the locator cannot be used, or is of another kind.
    """
    from fedshelf.common.inference.loading import load_locator
    from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW
    from fedshelf.common.inference.scenes.scene_reader import SceneReader

    if unsure_below is not None and classifier is None:
        raise ConfigError("--unsure-below is for names: give --classifier MODEL, too.")
    return SceneReader(
        load_locator(locator, device),
        classifier,
        score,
        tiles,
        UNSURE_BELOW if unsure_below is None else unsure_below,
    )


def naming_model(reader: "SceneReader", what: str) -> "ModelDescription":
    """Return the model whose classes name the products of a reader.

    Args:
        reader: of the scenes
        what: needs the names: the first words of the sentence of the error

    Raises:
        ConfigError: there is none.
    """
    naming = reader.naming_model
    if naming is None:
        raise ConfigError(
            f"{what} is for names: give --classifier MODEL, or a locator of a run that names"
            " classes (data.classes)."
        )
    return naming


def whole_photos(
    photos: "Sequence[NamedPhoto]", left_out: "LeftOut"
) -> "Iterator[tuple[NamedPhoto, Image.Image]]":
    """Yield photos in their own size, RGB and upright, while a bar tells how many are done.

    Args:
        photos: files that may be photos
        left_out: gets those that cannot be used, with the reason
    """
    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.images.decoding.content_digests import read_photo
    from fedshelf.common.images.decoding.decode import NotUsableError, decode_whole

    with photo_progress(len(photos)) as done:
        for photo in photos:
            try:
                whole = decode_whole(read_photo(photo.path))
            except NotUsableError as reason:
                left_out.append((photo.name, str(reason)))
            else:
                yield photo, whole
            done(1)


def check_output(option: str, folder: Path | None, photos: "Sequence[NamedPhoto]") -> None:
    """Raise ConfigError if pictures of an option would be written among the photos."""
    if folder is None:
        return
    place = folder.resolve()
    if inside := [photo for photo in photos if photo.path.resolve().is_relative_to(place)]:
        raise ConfigError(
            f"{option} got {folder}, which has photos to read ({inside[0].name}); give another"
            " folder."
        )


def write_picture(folder: Path, name: str, picture: "Image.Image", taken: set[str]) -> None:
    """Write a picture as a JPEG named like its photo, in place of one of an earlier time.

    Args:
        folder: of all pictures
        name: of the photo, with the folders that it lies in
        picture: RGB
        taken: places of the pictures so far, as photos of two folders may have one name; gets
            this one
    """
    from fedshelf.common.inference.labelling.placements import free_target, relative_place
    from fedshelf.common.system.files import write_atomic

    target = folder / relative_place(name)
    if target.suffix.lower() not in (".jpg", ".jpeg"):
        target = target.with_name(f"{target.name}.jpg")
    target = free_target(target, taken, replaces=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, lambda file: picture.save(file, "JPEG", quality=90))
