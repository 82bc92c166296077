"""A data set in two steps: its description, and its images.

It is found first, so that the model can choose an image size, and then decoded to that size.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.scenes.folder.run_classes import in_run_classes
from fedshelf.common.scenes.scene_classes import SceneClasses


@dataclass(frozen=True)
class Dataset:
    """A decoded data set.

    Attributes:
        classes: ordered names; a label is an index into them
        train: never empty
        validation: None if the data set has no such split of its own
        test: None if the data set has no test split
        left_out: images that are not used and why, one line for a person; empty if all are used
        stores: name -> images of stores that exist already; None: a partition deals `train`, which
            is empty otherwise
        annotations: of scenes, by `train.objective` and split: those of all rows
            (`common.images.types`), with places in `products`; empty: photos of single products
        products: of scenes, the classes that their products have
    """

    classes: tuple[str, ...]
    train: Images
    validation: Images | None
    test: Images | None
    left_out: str = ""
    stores: Mapping[str, StoreData] | None = None
    annotations: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    products: tuple[str, ...] = ()

    def annotated(self, objective: str, classes: SceneClasses) -> "Dataset":
        """Return the data set with the annotations of its images that an objective is about.

        Args:
            objective: boxes or masks
            classes: those of the run

        Raises:
            DataError: it has none, or a product is of no class of the run.
        """
        if objective not in self.annotations:
            if has := " and ".join(self.annotations):
                raise DataError(
                    f"Setting train.objective got {objective}, and the data set has {has}, but no"
                    f" {objective}; set it to {has}, or add {objective} to the photos' labels."
                )
            raise DataError(
                f"Setting train.objective got {objective}, and the data set has no {objective} of"
                " products; choose one of scenes, for example shelf-scenes."
            )
        of_split = {
            split: in_run_classes(rows, self.products, classes.products, merge=classes.merge)
            for split, rows in self.annotations[objective].items()
        }
        return replace(
            self,
            train=replace(self.train, annotations=of_split["train"]),
            validation=self.validation
            and replace(self.validation, annotations=of_split["validation"]),
            test=self.test and replace(self.test, annotations=of_split["test"]),
        )


@dataclass(frozen=True)
class DatasetSource:
    """A data set that was found; nothing is decoded before `load`.

    Attributes:
        name: the name for reports
        native_size: side of its images in pixels if all are squares of one size, else None
        channels: 1 (grey) or 3 (RGB)
        load: decodes to a pixel format, or maps an earlier result; raises DataError
        photos: the folder or CSV file of its original files, if there is one
        has_stores: whether the loaded data set has `stores`
        are_scenes: True if its photos show many products each, with boxes and masks
    """

    name: str
    native_size: int | None
    channels: int
    load: Callable[[PixelFormat], Dataset]
    photos: Path | None = None
    has_stores: bool = False
    are_scenes: bool = False
