"""Judgement of a model on one photo of a scene, and the photos that teach most about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.metrics.formulas.mean_iou import HIDDEN, MeanIoU
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.difficult import LEAST_OVERLAP
from fedshelf.common.scenes.matching import found_products
from fedshelf.common.tasks.masks import mean_overlap

EACH_GROUP = 4  # photos that are chosen as the worst, the middle and the best
RIGHT, MISSED, WRONG = 1, 2, 3  # kinds of pixels; 0: no product, and none said


@dataclass(frozen=True)
class JudgedPhoto:
    """The right and the wrong on a photo, in products, or of masks in pixels.

    Attributes:
        quality: 0 to 1; of boxes F1 = 2 right / (2 right + missed + wrong), of masks the mean IoU
        right: products that are found
        missed: products that are not
        wrong: boxes, or pixels said to be a product's, without a product, or with one of another
            class
    """

    quality: float
    right: int
    missed: int
    wrong: int


@dataclass(frozen=True)
class BoxOutcomes:
    """The boxes of a photo: those with a product, those without, and the products missed."""

    found: Boxes
    missed: Boxes
    wrong: Boxes


def box_outcomes(guess: Boxes, true: Boxes, threshold: float, classes: int = 1) -> BoxOutcomes:
    """Return which boxes of a score of at least `threshold` have found a product.

    Each takes at most one product, as in the metric AP50 (`common.scenes.matching`), and with
    several classes one of its own class.

    Args:
        guess: boxes of a network
        true: those of the products
        threshold: the score from which a box counts
        classes: C, of boxes; 1: a box is of a product, whatever its class
    """
    sure = guess.select(guess.scores >= threshold)
    is_found, is_missed = np.zeros(len(sure), bool), np.ones(len(true), bool)
    for place in range(classes):
        own = np.flatnonzero((sure.classes == place) | (classes == 1))
        products = np.flatnonzero((true.classes == place) | (classes == 1))
        taken = found_products(sure.select(own), true.select(products), LEAST_OVERLAP)
        is_found[own] = taken >= 0
        is_missed[products[taken[taken >= 0]]] = False
    return BoxOutcomes(sure.select(is_found), true.select(is_missed), sure.select(~is_found))


def pixel_outcomes(guess: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return for each pixel RIGHT, MISSED, WRONG or 0, uint8 [S, S].

    Args:
        guess: uint8 [S, S], the class of a product, counted from 1, or 0 for none
        true: the same, or `HIDDEN` where nobody can say, which counts nowhere
    """
    outcomes = np.zeros_like(guess)
    is_product = (true > 0) & (true != HIDDEN)
    outcomes[is_product & (guess == true)] = RIGHT
    outcomes[is_product & (guess == 0)] = MISSED
    outcomes[(true != HIDDEN) & (guess > 0) & (guess != true)] = WRONG
    return outcomes


def judge(guess: Any, true: Any, threshold: float, classes: int) -> JudgedPhoto:
    """Judge a photo.

    Args:
        guess: `Boxes`, or a mask, uint8 [S, S]
        true: the same of what people marked
        threshold: the score from which a box counts
        classes: C, of boxes, or of pixels with the background
    """
    if isinstance(guess, Boxes):
        outcomes = box_outcomes(guess, true, threshold, classes)
        right, missed, wrong = map(len, (outcomes.found, outcomes.missed, outcomes.wrong))
        everything = 2 * right + missed + wrong
        return JudgedPhoto(2 * right / everything if everything else 1.0, right, missed, wrong)
    tallies = np.bincount(pixel_outcomes(guess, true).ravel(), minlength=WRONG + 1).tolist()
    overlap = mean_overlap(MeanIoU(classes).sums(guess[None], true[None]))
    return JudgedPhoto(overlap, tallies[RIGHT], tallies[MISSED], tallies[WRONG])


def choose(photos: Sequence[JudgedPhoto]) -> dict[str, list[int]]:
    """Return the places of the photos that the report shows, by group.

    The worst are those of the lowest quality, and of equal ones those with most mistakes. The best
    are those of the highest, and of equal ones those with most products. Those in the middle are
    nearest to the median of all. Of photos that are still equal, the first ones are chosen, and
    none is in two groups.
    """
    each = min(EACH_GROUP, -(-len(photos) // 3))
    median = float(np.median([photo.quality for photo in photos])) if photos else 0.0
    orders: dict[str, list[tuple[float, int]]] = {
        "worst": [(photo.quality, -photo.missed - photo.wrong) for photo in photos],
        "best": [(-photo.quality, -photo.right) for photo in photos],
        "middle": [(abs(photo.quality - median), 0) for photo in photos],
    }
    chosen: dict[str, list[int]] = {}
    left = list(range(len(photos)))
    for group, keys in orders.items():
        chosen[group] = sorted(left, key=keys.__getitem__)[:each]  # of equal ones the first
        left = [place for place in left if place not in chosen[group]]
    return {group: chosen[group] for group in ("worst", "middle", "best")}
