"""The further metrics by name: see `common.metrics.formulas.metric` on what a metric is.

To add one, write a file in this folder and a line in METRICS. An installed package may add more
(`common.plugins`), and a person of their own (`common.own_objects`). A metric that a run names in
`evaluation.metrics` reaches the history, the summary, the report, TensorBoard, trackers and the
choice of the best round by its figures' names alone.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np

from fedshelf.common import own_objects, plugins
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas.auroc import Auroc
from fedshelf.common.metrics.formulas.average_precision import LOCATED, AveragePrecision
from fedshelf.common.metrics.formulas.balanced_accuracy import BalancedAccuracy
from fedshelf.common.metrics.formulas.count_error import CountError
from fedshelf.common.metrics.formulas.mean_iou import LABELLED_PIXELS, MeanIoU
from fedshelf.common.metrics.formulas.metric import (
    CLASS_SCORES,
    Better,
    Metric,
    is_derived,
    no_sums,
)
from fedshelf.common.metrics.formulas.top_k import TopKAccuracy
from fedshelf.common.metrics.formulas.worst_class_recall import WorstClassRecall
from fedshelf.common.suggest import did_you_mean

METRICS: Mapping[str, Metric] = {
    "top3": TopKAccuracy(3),
    "top5": TopKAccuracy(5),
    "balanced_accuracy": BalancedAccuracy(),
    "worst_class_recall": WorstClassRecall(),
    "auroc": Auroc(),
    "ap": AveragePrecision(),
    "count": CountError(),
    "iou": MeanIoU(),
}
MEASURED: Mapping[str, str] = {"boxes": LOCATED, "masks": LABELLED_PIXELS}
"""The outputs that metrics are given, by `train.objective`; of all others, CLASS_SCORES."""

USUAL: Mapping[str, Better] = {"accuracy": "higher", "macro_f1": "higher", "loss": "lower"}
"""The figures of every evaluation: see `Counts.scalars`."""

MAX_ELEMENTS = 2**20  # of the sums of one metric
_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,39}")
# names that history, summary and table give to something else
_TAKEN = {
    *USUAL, "adjusted", "baseline", "confusion", "images", "interval", "macro_precision",
    "macro_recall", "on", "per_class", "raw", "raw_accuracy", "spread", "store", "stores", "sure",
    "untold",
}  # fmt: skip

NO_METRICS: Mapping[str, Metric] = MappingProxyType({})


def find(name: str) -> Metric:
    """Return the metric of a name: Fedshelf's, an installed package's, or a person's own.

    Raises:
        ConfigError: the name is unknown, or what it names cannot be used
    """
    plugin = plugins.find_plugin(plugins.METRIC, name, METRICS)
    if name in METRICS:
        return METRICS[name]
    if plugin is None:
        known = names()
        raise ConfigError(
            f"Setting evaluation.metrics got {name!r}; allowed: {', '.join(known)}, or one of a"
            f" package that is installed here.{did_you_mean(name, known)}"
        )
    metric = plugin() if isinstance(plugin, type) else plugin
    if not isinstance(metric, Metric):
        raise plugins.wrong_plugin(plugins.METRIC, name, "a Metric or a class derived from it")
    _check_names(metric, name)
    return metric


def names() -> list[str]:
    """Return the names of all metrics of Fedshelf and of installed packages."""
    return [*METRICS, *plugins.plugin_names(plugins.METRIC)]


def always(objective: str) -> tuple[str, ...]:
    """Return the names of the metrics that every run with a `train.objective` counts.

    Of scenes they are all of Fedshelf's that measure what its models tell.
    """
    if objective not in MEASURED:
        return ()
    return tuple(name for name, each in METRICS.items() if each.outputs == MEASURED[objective])


def chosen(config: RunConfig) -> dict[str, Metric]:
    """Return the metrics that a run counts beside the usual ones, by the names in its settings.

    Raises:
        ConfigError: one is unknown
    """
    return {name: find(name) for name in config.evaluation.metrics}


def check(config: RunConfig, classes: int = 2) -> None:
    """Check the metrics of a run, and the figure by which it chooses its best round.

    Args:
        config: of the run
        classes: C, as far as it is known

    Raises:
        ConfigError: one is unknown, too large, or of outputs that the run's model has not, or two
            have a figure of one name
    """
    objective = config.train.objective
    needed = always(objective)
    named = config.evaluation.metrics
    metrics = [find(name) for name in (*(n for n in needed if n not in named), *named)]
    measured = MEASURED.get(objective, CLASS_SCORES)
    for metric in metrics:
        if metric.outputs != measured:
            raise ConfigError(
                f"Setting evaluation.metrics got {metric.name!r}, which measures {metric.outputs};"
                f" this run's model gives {measured}."
            )
        elements = math.prod(metric.shape(classes))
        if elements > MAX_ELEMENTS and metric.name in needed:
            raise ConfigError(
                f"Setting data.classes got {classes} classes, and the metric {metric.name!r} of"
                f" train.objective={objective} has room for {MAX_ELEMENTS * classes // elements};"
                " name fewer, or leave data.classes out."
            )
        if elements > MAX_ELEMENTS:
            raise ConfigError(
                f"The metric {metric.name!r} has {elements} sums of {classes} classes; expected at"
                f" most {MAX_ELEMENTS}: leave it out of evaluation.metrics."
            )
    figures = [figure for metric in metrics for figure in metric.better]
    if twice := [figure for figure in figures if figures.count(figure) > 1]:
        raise ConfigError(f"Setting evaluation.metrics has the figure {twice[0]} twice.")
    allowed = [*USUAL, *figures]
    watched = config.evaluation.metric
    if watched not in allowed:
        raise ConfigError(
            f"Setting evaluation.metric got {watched!r}; allowed: {', '.join(allowed)} (with the"
            f" run's evaluation.metrics).{did_you_mean(watched, allowed)}"
        )


def better(figure: str, metrics: Iterable[str]) -> Better:
    """Return whether a higher or a lower value of a figure is better.

    Args:
        figure: one of the usual ones, or of these metrics
        metrics: their names, as the run's settings have them

    Raises:
        ConfigError: none of them has this figure
    """
    ways = dict(USUAL)
    for name in metrics:
        ways |= find(name).better
    if figure not in ways:
        raise ConfigError(
            f"Setting evaluation.metric got {figure!r}; allowed: {', '.join(ways)}, or a figure of"
            f" another one of evaluation.metrics.{did_you_mean(figure, ways)}"
        )
    return ways[figure]


def scalars(counts: Counts) -> dict[str, float]:
    """Return all figures of an evaluation: the usual three, and those of its metrics.

    A metric whose sums a store withholds has none.
    """
    figures = counts.scalars()
    for name, sums in counts.metrics.items():
        figures |= find(name).values(sums, counts)
    return figures


def value_of(counts: Counts, figure: str) -> float:
    """Return one figure of an evaluation; nan if it is withheld."""
    return scalars(counts).get(figure, math.nan)


def with_derived(counts: Counts, metrics: Mapping[str, Metric]) -> Counts:
    """Return counts with the metrics that need no sums of their own, which do not travel."""
    classes = len(counts.confusion)
    derived = {
        name: no_sums(metric, classes)
        for name, metric in metrics.items()
        if is_derived(metric, classes)
    }
    return replace(counts, metrics={**counts.metrics, **derived}) if derived else counts


def are_possible(counts: Counts, metrics: Mapping[str, Metric]) -> bool:
    """Return whether a store's sums are those of metrics of the run, and can be of its images."""
    return all(
        name in metrics and _is_possible(metrics[name], sums, counts)
        for name, sums in counts.metrics.items()
    )


def sums_of(metric: Metric, outputs: Any, targets: Any, classes: int) -> Sums:
    """Return the sums of a metric over some images, checked.

    Args:
        outputs: see `Metric.sums`
        targets: see `Metric.sums`
        classes: C

    Raises:
        ConfigError: the metric returned something else than an array of its shape and type
    """
    sums = metric.sums(outputs, targets)
    expected = no_sums(metric, classes)
    if not _is_like(sums, expected):
        got = (
            f"{sums.dtype} of shape {sums.shape}"
            if isinstance(sums, np.ndarray)
            else f"a {type(sums).__name__}"
        )
        raise ConfigError(
            f"The metric {metric.name!r} returned {got}; expected an array {expected.dtype} of"
            f" shape {expected.shape}, as its shape() and dtype say."
        )
    return sums


def _is_like(sums: Any, expected: Sums) -> bool:
    return (
        isinstance(sums, np.ndarray)
        and sums.dtype == expected.dtype
        and sums.shape == expected.shape
    )


def _is_possible(metric: Metric, sums: Sums, counts: Counts) -> bool:
    return (
        _is_like(sums, no_sums(metric, len(counts.confusion)))
        and bool(np.isfinite(sums).all())
        and metric.is_possible(sums, counts.num_examples)
    )


def _check_names(metric: Metric, name: str) -> None:
    """Raise ConfigError if a metric's names cannot be used.

    Args:
        metric: of a package, or a person's own
        name: in the settings; a person's own may have another one
    """
    own = getattr(metric, "name", "")
    figures = metric.better
    if (
        (own != name and not own_objects.is_name(name))
        or own in METRICS
        or not _NAME_PATTERN.fullmatch(own)
        or not figures
        or not all(_is_figure(figure, own) for figure in figures)
    ):
        raise ConfigError(
            f"The metric {name!r} has the name {own!r} and the figures"
            f" {', '.join(figures) or 'none'}; expected a name of up to 40 small letters, digits"
            " and _ that none of Fedshelf's has (of a package: that of its entry point), and"
            " figures that are called as the metric or begin with its name and _, but not as what"
            f" a run has already ({', '.join(sorted(_TAKEN))})."
        )


def _is_figure(figure: str, metric: str) -> bool:
    """Return whether a metric's figure may have a name."""
    begins_rightly = figure == metric or figure.startswith(f"{metric}_")
    return begins_rightly and figure not in _TAKEN and bool(_NAME_PATTERN.fullmatch(figure))
