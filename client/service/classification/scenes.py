"""The products on a stranger's photo of a scene."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fedshelf.client.service.classification.decoding import decode_whole_wanted
from fedshelf.client.service.classification.served_model import ServedModel
from fedshelf.common.inference.scenes.locating import counting_score
from fedshelf.common.inference.scenes.products import LocatedProduct
from fedshelf.common.inference.scenes.scene_reader import SceneReader, names_products


@dataclass(frozen=True)
class SceneOptions:
    """The options of a request.

    Attributes:
        tiles: in a row and in a column; 1: the photo is looked at as a whole; None: as many as it
            needs
        score: from which on a box counts; None: as the model says
    """

    tiles: int | None = 1
    score: float | None = None


@dataclass(frozen=True)
class LocatedPhoto:
    """A photo with its products.

    Attributes:
        width: in pixels, upright
        height: in pixels, upright
        score: from which on a box counted
        products: the surest first
    """

    width: int
    height: int
    score: float
    products: Sequence[LocatedProduct]


def locate_products(
    model: ServedModel, data: bytes, options: SceneOptions, is_wanted: Callable[[], bool]
) -> LocatedPhoto:
    """Return the products on a photo, named by the locator if it can, else by the classifier.

    Args:
        model: has a locator
        data: the photo's file
        options: of the request
        is_wanted: False once the client has left

    Raises:
        ClientGoneError: the client has left
        ProblemError: the photo cannot be used
    """
    assert model.locator is not None
    photo = decode_whole_wanted(data, is_wanted)
    score = counting_score(model.locator) if options.score is None else options.score
    namer = None if names_products(model.locator.description) else model.predictor
    reader = SceneReader(model.locator, namer, score, options.tiles)
    return LocatedPhoto(*photo.size, score, reader.read(photo).products)
