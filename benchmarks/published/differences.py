"""The table of methods on the same splits: how far each is from FedAvg, with an interval."""

import math
from collections.abc import Iterator, Sequence
from statistics import mean, variance

from benchmarks.published.cells import Cell
from benchmarks.published.play import Row
from fedshelf.simulations.compare.statistics.students_t import quantile

BASELINE = "fedavg"
HEAD = ("partition", "method", "published", "seeds", "last round", "from FedAvg", "95% interval")
MIN_SEEDS = 2  # one difference has no deviation


def markdown(cells: Sequence[Cell], rows: Sequence[Row], split: str) -> str:
    """Return a table in Markdown for each budget: a line for each method on each partition.

    Args:
        cells: all cells, measured or not
        rows: all runs
        split: whose splits are compared; "": ours
    """
    budgets = sorted({row.budget for row in rows if row.split == split})
    return "\n".join(part for budget in budgets for part in _table(cells, rows, split, budget))


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of a mean of paired differences: m -+ t sqrt(s^2 / S).

    Args:
        differences: of two accuracies, one number for each of S >= 2 seeds
    """
    seeds = len(differences)
    margin = quantile(0.975, seeds - 1) * math.sqrt(variance(differences) / seeds)
    return mean(differences) - margin, mean(differences) + margin


def _table(cells: Sequence[Cell], rows: Sequence[Row], split: str, budget: str) -> Iterator[str]:
    found = {
        (row.cell, row.seed): row.last for row in rows if (row.split, row.budget) == (split, budget)
    }
    lines = [line for cell in cells if (line := _line(cell, found))]
    if not lines:
        return
    yield f"{budget} (rounds x local epochs):\n"
    for line in (HEAD, ("---",) * len(HEAD), *lines):
        yield f"| {' | '.join(line)} |"
    yield ""


def _line(cell: Cell, found: dict[tuple[str, int], float]) -> tuple[str, ...] | None:
    """Return the line of a method, or None if fewer than two seeds have it and FedAvg."""
    task, _, method = cell.name.rpartition("-")
    baseline = f"{task}-{BASELINE}"
    seeds = sorted(seed for name, seed in found if name == cell.name and (baseline, seed) in found)
    if len(seeds) < MIN_SEEDS:
        return None
    own = [found[cell.name, seed] for seed in seeds]
    differences = [
        100 * (last - found[baseline, seed]) for last, seed in zip(own, seeds, strict=True)
    ]
    figure = cell.published.figure
    low, high = interval(differences)
    is_baseline = method == BASELINE
    return (
        cell.config.data.partition,
        method,
        "" if figure is None else f"{100 * figure:.1f}",
        ", ".join(map(str, seeds)),
        f"{100 * mean(own):.1f}",
        "" if is_baseline else f"{mean(differences):+.1f}",
        "" if is_baseline else f"{low:+.1f} to {high:+.1f}",
    )
