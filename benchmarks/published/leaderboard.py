"""The leaderboard, docs/leaderboard.md: all methods that were measured on one task, best first."""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean, variance
from typing import NamedTuple

from benchmarks.published.cells import Cell
from benchmarks.published.play import Row
from fedshelf.simulations.compare.statistics.students_t import quantile

TEST_IMAGES: Mapping[str, int] = {"cifar10": 10_000, "fashion-mnist": 10_000}
NORMAL_QUANTILE = 1.96  # of 95%
HEAD = """# Leaderboard

Written by `python -m benchmarks.published --leaderboard` from the rows of all runs
(`benchmarks/published/results/rows.jsonl`). Each table is one task: a data set, its partition and
a network. Only runs of a cell's whole budget are here, and only accuracies after the last round,
which nobody chose. A method is a file in `benchmarks/published/cells` with all of its settings, the
source of the published figure, and the known differences, which
[the results](results.md#published-results-reproduced) discuss.

**How to read it.** *Ours* is the mean over the seeds; each seed deals the images anew, and one seed
deals them alike for all methods. The interval is at 95%: with several seeds for another seed and
another draw of test images (Student's t, as in [comparisons](how-to/compare.md#how-to-read-it)),
with one seed for another draw of test images alone, which is too narrow (marked \\*). Methods whose
intervals overlap have no order. *Published* is what the paper reports for that method, on another
split; for a setting of ours (in **bold**) it is the best published figure of the task.

To enter a method, add its cell and run its command.
"""
COLUMNS = ("", "method", "ours, %", "95% interval", "seeds", "published, %", "rounds x epochs")


class Entry(NamedTuple):
    """A method on a task.

    Attributes:
        split: whose splits it was dealt by; "": ours
        last: accuracy after the last round, one number a seed (0..1)
        seeds: the seeds, in the same order
    """

    cell: Cell
    split: str
    last: list[float]
    seeds: list[int]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of the mean: sqrt(t^2 s^2 / S + z^2 p (1 - p) / n) on either side.

        S seeds have the standard deviation s, and n test images are the same for all seeds. With
        one seed the first term is missing.
        """
        p = mean(self.last)
        images = TEST_IMAGES[self.cell.config.data.dataset]
        between = 0.0
        if (seeds := len(self.last)) > 1:
            between = quantile(0.975, seeds - 1) ** 2 * variance(self.last) / seeds
        margin = math.sqrt(between + NORMAL_QUANTILE**2 * p * (1 - p) / images)
        return max(0.0, p - margin), min(1.0, p + margin)


def page(cells: Sequence[Cell], rows: Sequence[Row]) -> str:
    """Return the page: a table for each task of which a method was measured.

    Args:
        cells: all cells, measured or not
        rows: all runs
    """
    tasks: dict[str, list[Entry]] = {}
    for cell in cells:
        for split in sorted({row.split for row in rows if row.cell == cell.name}):
            own = [row for row in rows if (row.cell, row.split) == (cell.name, split)]
            own = sorted((row for row in own if not row.reduced), key=lambda row: row.seed)
            if own:
                last, seeds = [row.last for row in own], [row.seed for row in own]
                tasks.setdefault(_task(cell, split), []).append(Entry(cell, split, last, seeds))
    return HEAD + "".join(part for task in sorted(tasks) for part in _table(task, tasks[task]))


def _table(task: str, entries: Sequence[Entry]) -> Iterator[str]:
    yield f"\n## {task}\n\n| {' | '.join(COLUMNS)} | command |\n|{'---|' * (len(COLUMNS) + 1)}\n"
    for place, entry in enumerate(sorted(entries, key=lambda one: -mean(one.last)), 1):
        cell = entry.cell
        low, high = entry.interval
        mark = "\\*" if len(entry.seeds) == 1 else ""
        figure = cell.published.figure
        option = " --niid-splits" if entry.split else ""
        seeds = ",".join(map(str, entry.seeds))
        columns = [
            str(place),
            f"**{cell.name}**" if "a setting of ours" in cell.published.unequal else cell.name,
            f"{100 * mean(entry.last):.1f}",
            f"{100 * low:.1f} to {100 * high:.1f}{mark}",
            seeds.replace(",", ", "),
            "" if figure is None else f"{100 * figure:.1f}",
            cell.budget,
            f"`python -m benchmarks.published {cell.name} --seeds {seeds}{option}`",
        ]
        yield f"| {' | '.join(columns)} |\n"


def _task(cell: Cell, split: str) -> str:
    data = cell.config.data
    dealt = f"{data.stores} stores by {data.partition}" if data.stores > 1 else "in one place"
    of_others = f" ({split}'s own splits)" if split else ""
    return f"{data.dataset}, {dealt}{of_others}, {cell.config.model.name}"
