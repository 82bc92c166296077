"""Each metric that is registered keeps these rules, without a test of its own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as draw
from hypothesis.extra import numpy as arrays

from fedshelf.common.config.schema import EvaluationConfig
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts, merge
from fedshelf.common.metrics.formulas import METRICS
from fedshelf.common.metrics.formulas.metric import CLASS_SCORES, Metric, is_derived, no_sums
from fedshelf.common.protocol.messages import Evaluation
from fedshelf.common.protocol.serialization import decode_result, encode_result

CLASSES = 4
OF_CLASSES = {name: metric for name, metric in METRICS.items() if metric.outputs == CLASS_SCORES}
EVERY_METRIC = pytest.mark.parametrize("metric", OF_CLASSES.values(), ids=OF_CLASSES)
COUNTED = [metric for metric in OF_CLASSES.values() if not is_derived(metric, CLASSES)]
outputs = arrays.arrays(
    np.float32,
    draw.tuples(draw.integers(1, 30), draw.just(CLASSES)),
    elements=draw.floats(width=32) | draw.integers(-3, 3).map(np.float32),
)


def counts_of(metric: Metric, scores: np.ndarray, targets: np.ndarray) -> Counts:
    cells = targets * CLASSES + np.nan_to_num(scores).argmax(axis=1)
    confusion = np.bincount(cells, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
    sums = (
        no_sums(metric, CLASSES)
        if is_derived(metric, CLASSES)
        else formulas.sums_of(metric, scores, targets, CLASSES)
    )
    return Counts(confusion, 1.0, metrics={metric.name: sums})


def targets_of(scores: np.ndarray, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(CLASSES, size=len(scores))


@EVERY_METRIC
@settings(max_examples=25)
@given(scores=outputs, seed=draw.integers(0, 99), cut=draw.integers(0, 30))
def test_any_split_has_the_sums_of_the_whole(
    metric: Metric, scores: np.ndarray, seed: int, cut: int
) -> None:
    targets = targets_of(scores, seed)
    whole = counts_of(metric, scores, targets)
    parts = [
        counts_of(metric, scores[part], targets[part]) for part in (slice(cut), slice(cut, None))
    ]
    merged = merge(parts, CLASSES)
    np.testing.assert_allclose(merged.metrics[metric.name], whole.metrics[metric.name], rtol=1e-12)
    assert formulas.are_possible(whole, {metric.name: metric})
    values = metric.values(whole.metrics[metric.name], whole)
    assert values.keys() == metric.better.keys()
    assert not np.isinf(list(values.values())).any()


@pytest.mark.parametrize("metric", COUNTED, ids=lambda metric: metric.name)
@settings(max_examples=25)
@given(scores=outputs, seed=draw.integers(0, 99), most=draw.integers(1, 30))
def test_of_fewer_images_it_is_still_possible(
    metric: Metric, scores: np.ndarray, seed: int, most: int
) -> None:
    fewer = counts_of(metric, scores, targets_of(scores, seed)).at_most(most)
    assert fewer.metrics[metric.name].dtype == metric.dtype
    assert formulas.are_possible(fewer, {metric.name: metric})


@pytest.mark.parametrize("metric", COUNTED, ids=lambda metric: metric.name)
def test_impossible_sums_are_told(metric: Metric) -> None:
    scores = np.eye(CLASSES, dtype=np.float32)
    counts = counts_of(metric, scores, np.arange(CLASSES))
    good = counts.metrics[metric.name]
    wrong = [-1 - good, good + counts.num_examples + 1, good[None], good.astype(np.float32)]
    if metric.dtype is np.float64:
        wrong.append(good * np.nan)
    for sums in wrong:
        assert not formulas.are_possible(
            replace(counts, metrics={metric.name: sums}), {metric.name: metric}
        )
    assert not formulas.are_possible(counts, {})  # nobody asked


@EVERY_METRIC
def test_messages_carry_what_was_counted(metric: Metric) -> None:
    scores = np.eye(CLASSES, dtype=np.float32)
    counts = counts_of(metric, scores, np.array([0, 1, 3, 3]))
    sent = encode_result(Evaluation("oslo", 1, counts, counts + counts))
    received = decode_result(sent)
    assert isinstance(received, Evaluation)
    for found, told in ((received.counts, counts), (received.adjusted, counts + counts)):
        assert found is not None
        arrived = formulas.with_derived(found, {metric.name: metric})
        assert formulas.scalars(arrived) == formulas.scalars(told)


@EVERY_METRIC
def test_the_setting_names_it(metric: Metric) -> None:
    assert METRICS[metric.name] is metric
    words = EvaluationConfig.model_fields["metrics"].description or ""
    assert metric.name in words.replace(",", " ").replace("(", " ").split()
