"""The choice of metrics by name, and what a program or a package may add."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest

from fedshelf.common import own_objects, plugins
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.metric import Better, Metric, share


class Misses(Metric):
    """Images of class 0 that have another's score above theirs; fewer are better."""

    def __init__(self, name: str = "misses", figure: str = "misses_share") -> None:
        self.name = name
        self._figure = figure

    @property
    def better(self) -> Mapping[str, Better]:
        return {self._figure: "lower"}

    def shape(self, classes: int) -> tuple[int, ...]:
        return (1,)

    def sums(self, outputs: np.ndarray, targets: np.ndarray) -> Sums:
        return np.array([((outputs.argmax(axis=1) != 0) & (targets == 0)).sum()])

    def values(self, sums: Sums, counts: Counts) -> dict[str, float]:
        return {self._figure: share(sums[0], counts.num_examples)}


class Boxes(Misses):
    outputs = "boxes"


KEY = "python:Misses"


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Make an object known by KEY, until the test ends."""
    monkeypatch.setattr(own_objects, "_registered", {})
    return lambda metric: own_objects.register(plugins.METRIC.group, KEY, metric)


@pytest.mark.parametrize("given", [Misses, Misses()])
def test_a_persons_own_metric_is_found_and_may_choose_the_best_round(
    give: Callable[[object], None], given: object
) -> None:
    give(given)
    config = resolve({"evaluation.metrics": f"{KEY},top3", "evaluation.metric": "misses_share"})
    formulas.check(config)
    assert [metric.name for metric in formulas.chosen(config).values()] == ["misses", "top3"]
    ways = [formulas.better(f, config.evaluation.metrics) for f in ("misses_share", "top3", "loss")]
    assert ways == ["lower", "higher", "lower"]
    counts = Counts(np.array([[3, 1], [0, 0]]), 2.0, metrics={KEY: np.array([1])})
    assert formulas.scalars(counts) == counts.scalars() | {"misses_share": 1 / 4}


@pytest.mark.parametrize(
    ("metric", "words"),
    [
        (Misses("top3", "top3"), "none of Fedshelf's has"),
        (Misses("Misses"), "small letters"),
        (Misses("misses", "hits"), "begin with its name"),
        (Misses("accuracy", "accuracy"), "not as what a run has already"),
        (Misses("raw", "raw_accuracy"), "not as what a run has already"),
        (7, "is not a Metric"),
    ],
)
def test_an_own_metric_that_cannot_be_used_is_refused(
    give: Callable[[object], None], metric: object, words: str
) -> None:
    give(metric)
    with pytest.raises(ConfigError, match=words):
        formulas.check(resolve({"evaluation.metrics": KEY}))


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ({"evaluation.metrics": "top33"}, "Did you mean top3"),
        ({"evaluation.metrics": "top3,auroc,top3"}, "has the figure top3 twice"),
        ({"evaluation.metrics": KEY}, "measures boxes"),
        ({"evaluation.metrics": "mylab:Other"}, "allowed: top3, "),
        ({"evaluation.metric": "macrof1"}, "allowed: accuracy, macro_f1, loss .*mean macro_f1"),
        ({"evaluation.metric": "auroc"}, "with the run's evaluation.metrics"),
    ],
)
def test_settings_that_cannot_be_are_refused_with_what_is_allowed(
    give: Callable[[object], None], chosen: dict[str, str], words: str
) -> None:
    give(Boxes("found", "found"))
    with pytest.raises(ConfigError, match=words):
        formulas.check(resolve(chosen))


def test_a_metric_too_large_for_the_classes_is_refused() -> None:
    config = resolve({"evaluation.metrics": "auroc"})
    formulas.check(config, classes=2000)
    with pytest.raises(ConfigError, match="1536000 sums of 3000 classes"):
        formulas.check(config, classes=3000)


def test_sums_of_another_shape_than_it_says_are_an_error_with_both() -> None:
    class Wrong(Misses):
        def sums(self, outputs: np.ndarray, targets: np.ndarray) -> Sums:
            return np.zeros((2, 2))

    with pytest.raises(ConfigError, match=r"float64 of shape \(2, 2\); expected .*int64.*\(1,\)"):
        formulas.sums_of(Wrong(), np.zeros((1, 2)), np.zeros(1, np.int64), classes=2)


def test_an_unknown_figure_is_told_with_those_that_are_known() -> None:
    assert formulas.better("macro_f1", []) == "higher"
    with pytest.raises(ConfigError, match=r"got 'top33'; allowed: .*top3.*Did you mean top3"):
        formulas.better("top33", formulas.METRICS)


def test_figures_of_scenes_may_choose_the_best_round_without_being_asked_for() -> None:
    for objective, figure in (("boxes", "count_error"), ("boxes", "ap_50"), ("masks", "iou")):
        formulas.check(resolve({"train.objective": objective, "evaluation.metric": figure}))
    with pytest.raises(ConfigError, match="allowed: accuracy, macro_f1, loss, ap, ap_50"):
        formulas.check(resolve({"train.objective": "boxes", "evaluation.metric": "iou"}))


def test_more_classes_of_boxes_than_there_is_room_for_are_refused() -> None:
    """AP of a class has 1 + 10 overlaps x 2 x 256 bins = 5121 numbers; 204 of them fit in 2^20."""
    boxes = resolve({"train.objective": "boxes"})
    formulas.check(boxes, 204)
    with pytest.raises(ConfigError, match=r"got 205 classes, and the metric 'ap' .* room for 204"):
        formulas.check(boxes, 205)
