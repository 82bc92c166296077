"""AP from histograms: by hand, beside a library that has all scores, and in parts."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest

from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.average_precision import (
    BINS,
    LEAST_OVERLAPS,
    AveragePrecision,
    average_precision,
    class_precisions,
    class_products,
    parts_of,
)
from fedshelf.common.scenes.boxes import Boxes

AP = AveragePrecision()


def boxes(*rows: tuple[float, float, float, float, float]) -> Boxes:
    """Return boxes of (left, top, right, bottom, score)."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Boxes(table[:, :4], np.full(len(table), -1), table[:, 4])


def photos(count: int, seed: int) -> tuple[list[Boxes], list[Boxes]]:
    """Return found and true boxes of photos: shifted ones, missed ones, and inventions."""
    random = np.random.default_rng(seed)
    found, true = [], []
    for _ in range(count):
        low = random.uniform(0, 120, (random.integers(0, 15), 2))
        corners = np.hstack([low, low + random.uniform(10, 40, low.shape)])
        true.append(Boxes.drawn(corners))
        seen = corners[random.random(len(corners)) < 0.85]
        near = seen + random.normal(0, random.choice([0.5, 2, 5]), seen.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        low = random.uniform(0, 120, (random.integers(0, 6), 2))
        wrong = np.hstack([low, low + random.uniform(10, 40, low.shape)])
        scores = np.concatenate([random.beta(5, 2, len(near)), random.beta(2, 5, len(wrong))])
        both = np.concatenate([near, wrong]).astype(np.float32)
        found.append(Boxes(both, np.full(len(both), -1), scores.astype(np.float32)))
    return found, true


def values(found: list[Boxes], true: list[Boxes]) -> dict[str, float]:
    counts = Counts(np.zeros((1, 1), np.int64), 0.0, undisclosed_wrong=len(found))
    return AP.values(AP.sums(found, true), counts)


def test_by_hand() -> None:
    """Two products; the surest box finds one, the next is wrong, the last finds the other.

    Precision is 1 up to recall 1/2 (51 of 101 points), then 2/3.
    """
    true = boxes((0, 0, 10, 10, 1), (20, 0, 30, 10, 1))
    found = boxes((0, 0, 10, 10, 0.9), (50, 50, 60, 60, 0.6), (20, 0, 30, 10, 0.3))
    expected = (51 + 50 * 2 / 3) / 101
    told = values([found], [true])
    assert told["ap"] == pytest.approx(expected)
    assert told["ap_50"] == told["ap_75"] == pytest.approx(expected)
    assert told["ap_recall_1"] == 1
    assert told["ap_recall_10th"] == 0.5


def test_a_loose_box_counts_at_small_overlaps_alone() -> None:
    """A box of 10 by 6 in a product of 10 by 10 overlaps by 0.6: 3 of 10 thresholds."""
    told = values([boxes((0, 0, 10, 6.01, 0.9))], [boxes((0, 0, 10, 10, 1))])
    assert told["ap"] == pytest.approx(0.3)
    assert told["ap_50"] == pytest.approx(1)
    assert told["ap_75"] == 0


def test_no_products_and_no_boxes() -> None:
    nothing = boxes()
    assert np.isnan(values([nothing], [nothing])["ap"])
    assert np.isnan(values([boxes((0, 0, 5, 5, 0.5))], [nothing])["ap_recall_1"])
    assert values([nothing], [boxes((0, 0, 5, 5, 1))])["ap"] == 0
    assert average_precision(0, np.zeros((2, BINS), np.int64)) != 0


def test_sums_of_parts_are_those_of_all() -> None:
    found, true = photos(30, seed=1)
    parts = [AP.sums(found[start::3], true[start::3]) for start in range(3)]
    assert np.array_equal(reduce(np.add, parts), AP.sums(found, true))
    products, histograms = parts_of(AP.sums(found, true))
    assert products == sum(map(len, true))
    assert histograms.sum() == len(LEAST_OVERLAPS) * sum(map(len, found))


@pytest.mark.parametrize("seed", range(4))
def test_is_that_of_all_scores_within_0_002(seed: int) -> None:
    faster_coco_eval = pytest.importorskip("faster_coco_eval")
    found, true = photos(60, seed)
    told = values(found, true)
    expected = coco_figures(faster_coco_eval, found, true)
    for name in ("ap", "ap_50", "ap_75"):
        assert told[name] == pytest.approx(expected[name], abs=0.002)


def coco_figures(library: object, found: list[Boxes], true: list[Boxes]) -> dict[str, float]:
    """Return the figures by another implementation of COCO's evaluation."""

    def rows(of_photos: list[Boxes], **further: object) -> list[dict[str, object]]:
        listed = []
        for photo, on_photo in enumerate(of_photos, start=1):
            for corners, score in zip(on_photo.corners.tolist(), on_photo.scores, strict=True):
                width, height = corners[2] - corners[0], corners[3] - corners[1]
                box = [corners[0], corners[1], width, height]
                row = {"image_id": photo, "category_id": 1, "bbox": box, "area": width * height}
                listed.append(row | {"score": float(score), "id": len(listed) + 1} | further)
        return listed

    coco = library.COCO(
        {
            "images": [{"id": photo + 1} for photo in range(len(true))],
            "categories": [{"id": 1, "name": "product"}],
            "annotations": rows(true, iscrowd=0),
        }
    )
    evaluation = library.COCOeval_faster(coco, coco.loadRes(rows(found)), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return dict(zip(("ap", "ap_50", "ap_75"), evaluation.stats[:3], strict=True))


@pytest.mark.parametrize(
    ("change", "is_possible"),
    [
        (np.abs, True),
        (lambda sums: sums.__setitem__(0, -1), False),
        (lambda sums: sums.__setitem__(slice(None), sums * 10**6), False),
    ],
)
def test_a_store_cannot_send_anything(change: object, is_possible: bool) -> None:
    sums = AP.sums(*photos(4, seed=3))
    change(sums)
    assert AP.is_possible(sums, 4) is is_possible


def test_boxes_with_classes_find_products_of_their_class_and_classes_count_alike() -> None:
    """Of class 0 one product is found; of class 1 the only box lies on a product of class 0; of
    class 2 there is no product. The mean is over the two classes that have some.
    """
    true = Boxes.drawn(np.array([[0, 0, 10, 10], [20, 0, 30, 10]]), np.array([0, 1]))
    found = Boxes(
        np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32),
        np.array([0, 1]),
        np.array([0.6, 0.9], np.float32),
    )
    metric = AveragePrecision(3)
    sums = metric.sums([found], [true])
    assert sums.shape == metric.shape(3)
    assert class_products(sums) == [1, 1, 0]
    each = class_precisions(sums)
    assert each[:2].tolist() == [[1.0] * len(LEAST_OVERLAPS), [0.0] * len(LEAST_OVERLAPS)]
    assert np.isnan(each[2]).all()
    told = metric.values(sums, Counts(np.zeros((3, 3), np.int64), 0.0, undisclosed_wrong=1))
    assert (told["ap"], told["ap_50"], told["ap_recall_1"]) == (0.5, 0.5, 0.5)
    assert parts_of(sums)[0] == 2


def test_several_classes_of_which_all_boxes_have_one_are_that_class_alone() -> None:
    found, true = photos(9, 5)
    second = [replace(boxes, classes=np.ones(len(boxes), np.int64)) for boxes in (*found, *true)]
    sums = AveragePrecision(2).sums(second[:9], second[9:])
    assert np.array_equal(sums[1], AP.sums(found, true))
    assert not sums[0].any()
