"""A person's own data sets: every form gives the same images, and unclear ones are refused."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import TensorDataset

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.simulations.datasets.own.source import ROUNDED, source

PIXELS = np.arange(4 * 5 * 5 * 3, dtype=np.uint8).reshape(4, 5, 5, 3)
LABELS = [0, 1, 1, 0]
FORM = PixelFormat(5, 3, 0)


class Items(TorchDataset[Any]):
    def __init__(self, images: list[Any], labels: list[Any]) -> None:
        self.images = images
        self.labels = labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


class Turning(Items):
    turn = 0

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        Turning.turn += 1
        return np.roll(self.images[index], Turning.turn), self.labels[index]


CHANNELS_FIRST = torch.from_numpy(PIXELS).movedim(3, 1)
FORMS = {
    "arrays": (PIXELS, np.array(LABELS)),
    "tensors, channels first": (CHANNELS_FIRST, torch.tensor(LABELS)),
    "floats": (CHANNELS_FIRST / 255, LABELS),
    "whole numbers": (PIXELS.astype(np.int64), LABELS),
    "TensorDataset": TensorDataset(CHANNELS_FIRST, torch.tensor(LABELS)),
    "PIL images": Items([Image.fromarray(image) for image in PIXELS], LABELS),
    "a list of items": list(zip(CHANNELS_FIRST, LABELS, strict=True)),
    "a function": lambda: {"train": (PIXELS, LABELS)},
    "names": (PIXELS, ["0", "1", "1", "0"]),
}


@pytest.mark.parametrize("given", FORMS.values(), ids=FORMS)
def test_every_form_gives_the_same_images(given: Any) -> None:
    found = source("mylab:data", given, ())
    assert (found.native_size, found.channels) == (5, 3)
    dataset = found.load(FORM)
    assert dataset.classes == ("0", "1")
    assert dataset.train.inputs.numpy().tolist() == PIXELS.tolist()
    assert dataset.train.targets().tolist() == LABELS
    assert dataset.left_out == ""


def test_floats_between_two_steps_are_rounded_and_this_is_said() -> None:
    halves = np.full((2, 4, 4, 1), 0.5)  # 127.5 of 255
    dataset = source("mylab:data", (halves, [0, 1]), ()).load(PixelFormat(4, 1, 0))
    assert set(dataset.train.inputs.flatten().tolist()) == {128}
    assert dataset.left_out == ROUNDED


def test_images_of_unequal_sizes_are_photos() -> None:
    images = [Image.new("L", (4, 6), 9), Image.new("RGB", (8, 8), (9, 9, 9))]
    found = source("mylab:data", Items(images, ["hat", "shirt"]), ())
    assert (found.native_size, found.channels) == (None, 3)
    dataset = found.load(FORM)
    assert dataset.train.inputs.shape == (2, 5, 5, 3)
    assert set(dataset.train.inputs.flatten().tolist()) == {9}


def test_stores_keep_their_names_splits_and_images() -> None:
    given = {
        "test": (PIXELS[:1], [1]),
        "stores": {
            "rome": {"train": (PIXELS[1:2], [1]), "val": (PIXELS[2:3], [1])},
            "oslo": (PIXELS[3:], [0]),
        },
    }
    found = source("mylab:data", given, ("hat", "shirt"))
    dataset = found.load(FORM)
    assert found.has_stores
    assert dataset.stores is not None
    assert list(dataset.stores) == ["rome", "oslo"]
    rome = dataset.stores["rome"]
    assert (rome.train.targets().tolist(), len(rome.validation), len(rome.test)) == ([1], 1, 0)
    assert dataset.test is not None
    assert dataset.classes == ("hat", "shirt")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((PIXELS, [0, 1]), r"has 4 images and labels of the shape \[2\]"),
        ((PIXELS, [0, 1, 1, -1]), "go from -1 to 1; expected 0 to 1"),
        ((PIXELS, [0.0, 1, 1, 0]), "labels of mylab:data are float64; expected whole numbers"),
        ((PIXELS.astype(float) - 3, LABELS), r"values from -3 to 252 \(float64\); expected floats"),
        ((np.full((2, 4, 4, 3), np.nan), [0, 1]), "values from nan to nan"),
        ((PIXELS.astype(int) * 2, LABELS), "values from 0 to 510 .* whole numbers from 0 to 255"),
        ((np.zeros((2, 3, 5, 3), np.uint8), [0, 1]), "either end may be the channels"),
        ((np.zeros((2, 4, 4, 4), np.uint8), [0, 1]), "neither end has 1 or 3 channels"),
        (Turning(list(PIXELS), LABELS), "another image each time it is asked for item 0"),
        (Items([3], [0]), "image of item 0 of mylab:data is a int"),
        ({"training": (PIXELS, LABELS)}, "has a split 'training'; expected train"),
        ({"test": (PIXELS, LABELS)}, "has no split train, nor stores"),
        ({"stores": {"oslo": (PIXELS, LABELS)}, "val": (PIXELS, LABELS)}, "nothing but test"),
        (7, r"mylab:data is a int; expected \(images, labels\)"),
        (lambda: 1 / 0, r"cannot be made \(ZeroDivisionError"),
        ((PIXELS[:0], []), "has no images"),
    ],
)
def test_what_is_unclear_is_refused_with_what_was_found(given: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        source("mylab:data", given, ())
