"""The outcome of a sweep in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from fedshelf.server.figure_names import FURTHER_TITLES, SCENE_FIGURES
from fedshelf.server.formatting import UNKNOWN, decimal, percent

# metrics that are shown as percentages
SHARES = frozenset({"accuracy", *(key for each in SCENE_FIGURES.values() for key in each)})


def figure_name(metric: str) -> str:
    """Return the name of a metric's figure in a sentence: "accuracy", "AP50"."""
    name = FURTHER_TITLES.get(metric, metric)
    return name if metric in SHARES else f"{name[:1].lower()}{name[1:]}"


def format_score(value: float | None, metric: str) -> str:
    """Format a value of a metric, or its deviation; a dash for None."""
    if value is None:
        return UNKNOWN
    return percent(value) if metric in SHARES else decimal(value, 4)


def headline(outcome: Mapping[str, Any], labels: Sequence[str]) -> list[str]:
    """Return the choice, and what its figures mean, in sentences."""
    metric = outcome["metric"]
    chosen = outcome["points"][outcome["chosen"]]
    count = len(outcome["seeds"])
    seeds = f"mean and standard deviation of {count} seeds" if count > 1 else "one seed"
    sentences = [
        f"Chosen: {labels[outcome['chosen']] or 'all settings as given'}, with"
        f" {_mean(chosen['mean'], chosen['deviation'], metric)} {figure_name(metric)} on"
        f" validation images ({seeds}).",
    ]
    if len(outcome["points"]) > 1:
        sentences.append(
            f"It is the best of {len(outcome['points'])} points on the same images, so this figure"
            " is a little too good."
        )
    test = outcome["test"]
    if test["mean"] is not None:
        sentences.append(
            f"On the test images, which chose nothing:"
            f" {_mean(test['mean'], test['deviation'], metric)}."
        )
    if len(outcome["seeds"]) < 2:
        sentences.append(
            "With one seed nobody can tell a better setting from luck; give --seeds 0,1,2."
        )
    return sentences


def _mean(mean: float, deviation: float | None, metric: str) -> str:
    spread = "" if deviation is None else f" ± {format_score(deviation, metric)}"
    return f"{format_score(mean, metric)}{spread}"
