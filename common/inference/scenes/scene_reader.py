"""A locator, and a classifier that names what it finds, as one reader of scenes."""

from dataclasses import dataclass

from PIL import Image

from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.inference.predictors.predictor import Predictor
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW
from fedshelf.common.inference.scenes.locating import locate_scene
from fedshelf.common.inference.scenes.products import (
    LocatedProduct,
    Naming,
    located_products,
    name_boxes,
)
from fedshelf.common.scenes.boxes import Boxes


@dataclass(frozen=True)
class ReadScene:
    """The products of one scene.

    Attributes:
        boxes: in pixels of the upright photo, the surest first
        naming: the classifier's answers for them; None: there is no classifier
    """

    boxes: Boxes
    naming: Naming | None

    @property
    def products(self) -> list[LocatedProduct]:
        """The boxes with their names, in the same order."""
        return located_products(self.boxes, self.naming)


@dataclass(frozen=True)
class SceneReader:
    """Finds the products of a scene, and names them.

    Attributes:
        locator: finds them
        classifier: names them; None: they stay without names
        score: of boxes that count; None: as the model says (see `locating`)
        tiles: in a row; None: as many as each photo needs (see `locating`)
        unsure_below: probability below which a name is unsure
    """

    locator: BoxPredictor
    classifier: Predictor | None = None
    score: float | None = None
    tiles: int | None = None
    unsure_below: float = UNSURE_BELOW

    def read(self, photo: Image.Image) -> ReadScene:
        """Return the products on a photo, RGB and upright."""
        boxes = locate_scene(self.locator, photo, self.tiles, self.score)
        return self.named(photo, boxes)

    def named(self, photo: Image.Image, boxes: Boxes) -> ReadScene:
        """Return boxes on a photo with the classifier's answers for them."""
        if self.classifier is None:
            return ReadScene(boxes, None)
        return ReadScene(boxes, name_boxes(self.classifier, photo, boxes, self.unsure_below))
