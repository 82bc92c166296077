"""`flower-client explain`: the parts of a photo that speak for a class."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedshelf.client.use.arguments.model_arguments import (
    Combine,
    Device,
    Features,
    Model,
    open_model,
)
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.text import printable

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from fedshelf.common.inference.predictors.description import ModelDescription
    from fedshelf.common.inference.predictors.predictor import Floats, Pixels, Predictor
    from fedshelf.common.inference.search.index_file import SearchIndex
    from fedshelf.common.inference.search.query import QueryPhoto

_PICTURE_PIXELS = 768  # longer side of the picture that is written
_NEIGHBOURS = 10  # indexed photos on the page


def explain(
    model: Model,
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="A photo.")],
    out: Annotated[
        Path, typer.Option(help="The photo with what speaks for the class in yellow and red.")
    ] = Path("heat.png"),
    method: Annotated[
        Literal["occlusion", "grad-cam"],
        typer.Option(help="occlusion hides parts, for any model; grad-cam is for PyTorch alone."),
    ] = "occlusion",
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="By default the most probable class."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index of the store's photos: a page beside the picture shows the nearest ones."
        ),
    ] = None,
    features: Features = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Show which parts of a photo speak for its class.

    It shows what this model looks at, which need not be what makes the product what it is.
    """
    from fedshelf.common.images.decoding.content_digests import read_photo
    from fedshelf.common.images.decoding.decode import NotUsableError, decode
    from fedshelf.common.images.decoding.picture import picture
    from fedshelf.common.inference.explain.overlay import overlay
    from fedshelf.common.inference.explain.regions import place_in_words
    from fedshelf.common.inference.loading import load

    if out.suffix.lower() != ".png":
        raise ConfigError(f"--out got {out}; expected a file that ends in .png.")
    if features is not None and index is None:
        raise ConfigError(f"--features got {features} without --index, whose model it should be.")
    predictor = open_model(model, combine, device)
    nearest = None
    if index is not None:
        nearest = _opened(index, photo, predictor if features is None else load(features, device))
    try:
        data = read_photo(photo)
        pixels = decode(data, predictor.pixel_format)
        shown = picture(data, _PICTURE_PIXELS)
    except NotUsableError as reason:
        raise DataError(f"The photo {photo} cannot be used: {reason}.") from None
    probabilities = predictor.predict(pixels[None].copy()).probabilities[0]
    target = _target(class_name, probabilities, predictor.description)
    heat = _heat(predictor, pixels, target, method)
    tinted = overlay(shown, heat)
    _write(out, tinted)
    sentence = (
        f"{printable(photo.name)}: {predictor.description.class_names[target]}"
        f" {probabilities[target]:.1%}, {place_in_words(heat)}."
    )
    typer.echo(sentence)
    typer.echo(f"Picture: {printable(str(out))}", err=True)
    if nearest is not None:
        _write_page(out.with_suffix(".html"), sentence, shown, tinted, nearest)


def _opened(path: Path, photo: Path, predictor: "Predictor") -> tuple["SearchIndex", "QueryPhoto"]:
    """Return an index, and a photo by the index's model. Raises DataError."""
    from fedshelf.common.inference.search.index_file import read_index
    from fedshelf.common.inference.search.query import read_query

    index = read_index(path)
    index.check_model(predictor.description, path)
    return index, read_query(photo, 1, predictor)


def _target(
    class_name: str | None, probabilities: "np.ndarray", description: "ModelDescription"
) -> int:
    """Return the position of the class to explain. Raises ConfigError."""
    if class_name is None:
        return int(probabilities.argmax())
    for names in (description.class_names, description.classes):
        if class_name in names:
            return names.index(class_name)
    from fedshelf.common.suggest import did_you_mean

    raise ConfigError(
        f"--class got {class_name!r}, which is no class of the model."
        f"{did_you_mean(class_name, description.class_names)}"
    )


def _heat(predictor: "Predictor", pixels: "Pixels", target: int, method: str) -> "Floats":
    """Return what speaks for a class, float32 [h, w]. Raises ConfigError."""
    if method == "grad-cam":
        from fedshelf.common.inference.explain.grad_cam import grad_cam

        return grad_cam(predictor, pixels, target)
    from fedshelf.common.inference.explain.occlusion import occlusion

    return occlusion(predictor, pixels, target)


def _write(path: Path, picture: "Image.Image") -> None:
    from fedshelf.common.system.files import write_atomic

    write_atomic(path, lambda file: picture.save(file, "PNG"))


def _write_page(
    path: Path,
    sentence: str,
    photo: "Image.Image",
    tinted: "Image.Image",
    nearest: tuple["SearchIndex", "QueryPhoto"],
) -> None:
    from fedshelf.common.images.decoding.picture import data_uri, jpeg
    from fedshelf.common.inference.search.query import search
    from fedshelf.common.inference.sheet.contact_sheet import (
        Figure,
        SheetSection,
        photo_figure,
        write_sheet,
    )

    index, query = nearest
    write_sheet(
        path,
        f"Why {query.name}?",
        sentence,
        [
            SheetSection(
                "The photo",
                [
                    Figure(query.name, "as it is", data_uri(jpeg(photo))),
                    Figure(query.name, "what speaks for the class", data_uri(jpeg(tinted))),
                ],
            ),
            SheetSection(
                f"The nearest of {len(index.photos):,} indexed photos",
                [
                    photo_figure(match.paths[0], match.names[0], f"{match.similarity:.3f}")
                    for match in search(index, [query], _NEIGHBOURS)
                ],
            ),
        ],
    )
