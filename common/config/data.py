"""Settings of the images."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from fedshelf.common.config.field_types import Count, Fraction, Section


def _distinct(names: tuple[str, ...]) -> tuple[str, ...]:
    for place, name in enumerate(names):
        if name in names[:place]:
            raise PydanticCustomError(
                "twice", "each name once, not {name} twice", {"name": repr(name)}
            )
    return names


DistinctNames = Annotated[tuple[str, ...], AfterValidator(_distinct)]
ClassNames = DistinctNames
"""The classes of a classifier, in order."""

# options that change a photo in more ways than a few views: the photo, and its mirror image
AUGMENTATION_BEYOND_FLIP = (
    "crop",
    "rotation",
    "translate",
    "scale",
    "brightness",
    "contrast",
    "trivial_augment",
    "erasing",
    "mixup",
    "cutmix",
    "augmentation",
)


class DataConfig(Section):
    """The images: their source, their split over stores, their cleaning and augmentation."""

    dataset: str = Field(
        "shelf",
        description=(
            "a data set: its name, a folder of photos or parquet files, a CSV file of image,label,"
            " OWNER/NAME at Hugging Face, hf:OWNER/NAME from the cache of its library, or"
            " module:Object, your own"
        ),
    )
    stores: Count = Field(10, description="stores to split the data set over (simulation)")
    partition: str = Field(
        "iid",
        description=(
            "split over stores: iid, dirichlet:ALPHA, shards:K, labels:K, quantity:ALPHA,"
            " file:PATH (a JSON list of the training images of each store, counted from 0),"
            " folder (each sub-folder is a store), or module:Object for your own function"
        ),
    )
    min_images: Count = Field(1, description="fewest images that a partition may give a store")
    holdout: Fraction = Field(
        0.0,
        description=(
            "share of each store's training images that is kept for validation, if the data"
            " has no validation images"
        ),
    )
    split: Literal["class", "hash"] = Field(
        "class",
        description=(
            "split of a folder that has no splits of its own, by the photos' content: class"
            " (of each class, a tenth for validation and a tenth for test), hash (the same for"
            " each photo on its own; runs of earlier versions keep it)"
        ),
    )
    classes: ClassNames = Field(
        (), description="ordered product classes, comma-separated; empty: gathered from the data"
    )
    confirmed_classes: ClassNames = Field(
        (),
        description=(
            "deployment: classes that may join the model although only one store has them, or"
            " although there are more than 300; empty: none"
        ),
    )
    merge_spellings: bool = Field(
        False,
        description=(
            "treat class names as one class if they differ only in case, white space or"
            " Unicode form"
        ),
    )
    image_size: Annotated[int, Field(ge=0, le=1024)] = Field(
        0,
        description=(
            "pixels: side of the square image that the model sees; 0: chosen from model and data"
        ),
    )
    denoise: Literal[0, 3, 5] = Field(
        0,
        description=("pixels: side of the median filter applied when decoding: 3 or 5; 0: none"),
    )
    flip: bool = Field(True, description="augmentation: mirror left-right at random")
    crop: Annotated[int, Field(ge=0, le=64)] = Field(
        0, description="augmentation, pixels: reflect-pad by this much and crop at random; 0: off"
    )
    rotation: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="augmentation, degrees: rotate by up to this much either way"
    )
    translate: Fraction = Field(
        0.0, description="augmentation: shift by up to this share of the side"
    )
    scale: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="augmentation: zoom by a factor within 1 plus or minus this"
    )
    brightness: Fraction = Field(
        0.0, description="augmentation: multiply intensity by a factor within 1 plus or minus this"
    )
    contrast: Fraction = Field(
        0.0, description="augmentation: scale contrast by a factor within 1 plus or minus this"
    )
    trivial_augment: bool = Field(
        False,
        description=(
            "augmentation: apply one random operation of 14 to each image, with random"
            " strength (TrivialAugment)"
        ),
    )
    erasing: Fraction = Field(
        0.0, description="augmentation: share of the images in which a rectangle is greyed out"
    )
    mixup: Fraction = Field(
        0.0,
        description=(
            "augmentation: share of the images that are blended with another image of their"
            " batch; their targets are blended as well"
        ),
    )
    cutmix: Fraction = Field(
        0.0,
        description=(
            "augmentation: share of the images that get a rectangle of another image of their batch"
        ),
    )
    augmentation: str = Field(
        "",
        description=(
            "augmentation of your own, after the others: module:Object, or the name of an"
            " installed package's; empty: none"
        ),
    )
