"""The table of our results and the published ones, for the terminal and for docs/results.md."""

from collections.abc import Iterator, Sequence
from statistics import mean

from benchmarks.published.cells import Cell
from benchmarks.published.play import Row

HEAD = (
    "cell",
    "published",
    "ours, last round",
    "best over rounds",
    "seeds",
    "at a reduced budget: last (best)",
)


def markdown(cells: Sequence[Cell], rows: Sequence[Row]) -> str:
    """Return the table in Markdown: a line for each cell, and below it the stores' images.

    Args:
        cells: all cells, measured or not
        rows: all runs
    """
    lines = [HEAD, tuple("---" for _ in HEAD), *(line(cell, rows) for cell in cells)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return "\n\n".join([table, "\n".join(dealt(cells, rows))]).rstrip() + "\n"


def line(cell: Cell, rows: Sequence[Row]) -> tuple[str, ...]:
    """Return a cell's line: means over seeds, in percent."""
    own = [row for row in rows if row.cell == cell.name and row.split == cell.split]
    whole = [row for row in own if not row.reduced]
    figure = "–" if cell.published.figure is None else f"{100 * cell.published.figure:.1f}"
    last, best, seeds = _means(whole) if whole else ("not yet measured", "", "")
    reduced = []
    for budget in dict.fromkeys(row.budget for row in own if row.reduced):
        last_reduced, best_reduced, seeds_reduced = _means(
            [row for row in own if row.budget == budget]
        )
        reduced.append(f"{last_reduced} ({best_reduced}), {budget}, seeds {seeds_reduced}")
    return cell.name, figure, last, best, seeds, "; ".join(reduced)


def dealt(cells: Sequence[Cell], rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for every split that was trained on: the number of images of each store.

    The classes of each store are in the rows.
    """
    partitions = {
        cell.name: f"{cell.config.data.partition}, {cell.config.data.stores} stores"
        for cell in cells
    }
    row_of_split = {
        (partitions[row.cell], row.seed): row
        for row in rows
        if row.cell in partitions and not row.split
    }
    for (partition, seed), row in sorted(row_of_split.items()):
        sizes = ", ".join(str(sum(counts)) for counts in row.counts.values())
        yield f"- {partition}, seed {seed}: {sizes}"


def _means(rows: Sequence[Row]) -> tuple[str, str, str]:
    """Return the means over seeds of the last and best accuracy, in percent, and the seeds."""
    seeds = ", ".join(str(seed) for seed in sorted(row.seed for row in rows))
    return (
        f"{100 * mean(row.last for row in rows):.1f}",
        f"{100 * mean(row.best for row in rows):.1f}",
        seeds,
    )
