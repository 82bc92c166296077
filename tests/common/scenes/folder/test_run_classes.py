"""Boxes and masks get the classes of a run: one for all products, or those that it names."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fedshelf.common.scenes.difficult import DIFFICULT
from fedshelf.common.scenes.folder.run_classes import UnknownClassError, in_run_classes

KNOWN = ("can", "bottle", "box")


def boxes(*classes: int) -> Tensor:
    """One photo with boxes of these classes, and one row of padding."""
    rows = [[1.0, 1, 3, 3, label] for label in classes] + [[0.0] * 5]
    return torch.tensor([rows])


def test_without_names_every_product_is_of_one_class() -> None:
    told = in_run_classes(boxes(2, 0, -1), KNOWN, ())
    assert told[0, :, 4].tolist() == [0, 0, 0, 0]
    assert torch.equal(told[..., :4], boxes(2, 0, -1)[..., :4])
    mask = torch.tensor([[[0, 1, 3, 4, 255]]], dtype=torch.uint8)  # 4: a product without a class
    assert in_run_classes(mask, KNOWN, ()).tolist() == [[[0, 1, 1, 1, 255]]]
    assert in_run_classes(mask[..., :2], (), ()).tolist() == [[[0, 1]]]


def test_the_places_are_those_in_the_runs_list() -> None:
    wanted = ("box", "tube", "can")
    assert in_run_classes(boxes(2, 0), KNOWN, wanted)[0, :, 4].tolist() == [0, 2, 0]
    mask = torch.tensor([[[0, 1, 3, 255]]], dtype=torch.uint8)
    told = in_run_classes(mask, KNOWN, wanted)
    assert (told.dtype, told.tolist()) == (torch.uint8, [[[0, 3, 1, 255]]])
    assert in_run_classes(boxes(0), ("CAN",), wanted, merge=True)[0, 0, 4] == 2


def test_products_without_a_class_beside_others_are_neither_asked_for_nor_wrong() -> None:
    told = in_run_classes(boxes(2, -1, DIFFICULT), KNOWN, KNOWN)
    assert told[0, :, 4].tolist() == [2, DIFFICULT, DIFFICULT, 0]
    mask = torch.tensor([[[4, 1, 255]]], dtype=torch.uint8)
    assert in_run_classes(mask, KNOWN, KNOWN).tolist() == [[[255, 1, 255]]]


@pytest.mark.parametrize(
    ("annotations", "sentence"),
    [
        (boxes(0, 1, 1), "2 boxes of class 'bottle', .* add it to data.classes.* mean bottles?"),
        (boxes(-1), "1 box of products, none of them with a class, and the run has 2 classes"),
        (torch.tensor([[[2, 1]]], dtype=torch.uint8), "1 pixel of class 'bottle'"),
        (torch.tensor([[[4, 4]]], dtype=torch.uint8), "2 pixels of products, none of them"),
    ],
)
def test_a_product_of_no_class_of_the_run_is_named(annotations: Tensor, sentence: str) -> None:
    with pytest.raises(UnknownClassError, match=sentence):
        in_run_classes(annotations, KNOWN, ("can", "bottles"))


def test_a_class_without_products_needs_no_place() -> None:
    assert np.isfinite(in_run_classes(boxes(0), KNOWN, ("can", "pen")).numpy()).all()
