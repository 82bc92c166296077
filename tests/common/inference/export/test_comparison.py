"""Counts by hand, and the rules by which a smaller model is written."""

import numpy as np
import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.export.comparison import Comparison


def certain(*classes: int) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[list(classes)]


def test_photos_are_counted() -> None:
    counted = Comparison()
    counted.add(certain(0, 1, 2, 0), certain(0, 1, 0, 1), [0, 2, 2, 1])
    counted.add(certain(1), certain(0), [None])
    assert (counted.photos, counted.same_class, counted.difference) == (5, 2, 1.0)
    assert (counted.labelled, counted.both_right) == (4, 1)
    assert (counted.only_original, counted.only_exported) == (1, 1)
    assert (counted.agreement, counted.accuracy, counted.p) == (2 / 5, 2 / 4, 1.0)


def test_without_labels_there_is_no_accuracy() -> None:
    counted = Comparison()
    counted.add(certain(0), certain(0), [None])
    assert (counted.accuracy, counted.p) == (None, None)
    assert counted.fault() == "0 labelled photos, 100 are needed to judge it"
    counted.check_exact()


def test_an_exact_export_has_the_same_classes_and_numbers() -> None:
    for exported in (certain(0) * np.float32(0.998), certain(1), certain(0) * np.float32(np.nan)):
        counted = Comparison()
        counted.add(certain(0), exported, [None])
        counted.add(certain(0), certain(0), [None])  # what was seen is not forgotten
        with pytest.raises(DataError, match="Nothing was written"):
            counted.check_exact()


def test_a_smaller_model_must_agree_and_be_as_good() -> None:
    good = Comparison(
        photos=200, same_class=194, labelled=200, both_right=150, only_original=4, only_exported=2
    )
    assert good.fault() is None
    good.same_class = 193
    assert good.fault() == "agrees on 96.5% of photos, expected 97%"
    worse = Comparison(
        photos=300, same_class=294, labelled=300, both_right=150, only_original=6, only_exported=0
    )
    assert worse.fault() == "another accuracy, p = 0.031, expected more than 0.05"  # 2 / 2**6
    better = Comparison(
        photos=300, same_class=294, labelled=300, both_right=150, only_original=0, only_exported=6
    )
    assert better.fault() == worse.fault()  # also a change for the better is a change
