"""A locator, and a classifier that names what it finds, as one reader of scenes."""

from dataclasses import dataclass

from PIL import Image

from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Predictor
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW
from fedshelf.common.inference.scenes.locating import locate_scene
from fedshelf.common.inference.scenes.products import (
    LocatedProduct,
    Naming,
    located_products,
    name_boxes,
    own_naming,
)
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.scene_classes import ANY_PRODUCT


@dataclass(frozen=True)
class ReadScene:
    """The products of one scene.

    Attributes:
        boxes: in pixels of the upright photo, the surest first
        naming: their names, by the classifier or else by the locator; None: neither has any
    """

    boxes: Boxes
    naming: Naming | None

    @property
    def products(self) -> list[LocatedProduct]:
        """The boxes with their names, in the same order."""
        return located_products(self.boxes, self.naming)


def names_products(locator: ModelDescription) -> bool:
    """Return whether a locator tells classes of products, by which it can name them."""
    return locator.classes != ANY_PRODUCT


@dataclass(frozen=True)
class SceneReader:
    """Finds the products of a scene, and names them.

    Attributes:
        locator: finds them
        classifier: names them; None: the locator does, if it tells classes
        score: of boxes that count; None: as the model says (see `locating`)
        tiles: in a row; None: as many as each photo needs (see `locating`)
        unsure_below: probability below which a name is unsure
    """

    locator: BoxPredictor
    classifier: Predictor | None = None
    score: float | None = None
    tiles: int | None = None
    unsure_below: float = UNSURE_BELOW

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names that products may have; (): they stay without names."""
        naming = self.naming_model
        return () if naming is None else naming.class_names

    @property
    def naming_model(self) -> ModelDescription | None:
        """The model whose classes name the products; None: they stay without names."""
        if self.classifier is not None:
            return self.classifier.description
        locator = self.locator.description
        return locator if names_products(locator) else None

    def read(self, photo: Image.Image) -> ReadScene:
        """Return the products on a photo, RGB and upright."""
        boxes = locate_scene(self.locator, photo, self.tiles, self.score)
        return self.named(photo, boxes)

    def named(self, photo: Image.Image, boxes: Boxes) -> ReadScene:
        """Return boxes on a photo with their names."""
        if self.classifier is None:
            names = self.class_names
            return ReadScene(boxes, own_naming(boxes, names) if names else None)
        return ReadScene(boxes, name_boxes(self.classifier, photo, boxes, self.unsure_below))
