"""Reproduce cells of published tables with `flower-simulation`.

    python -m benchmarks.published a2-dirichlet-fedavg --seeds 0,1,2
    python -m benchmarks.published a2-dirichlet-fedavg a2-dirichlet-scaffold --rounds 10 --epochs 5
    python -m benchmarks.published --table
    python -m benchmarks.published --leaderboard > docs/leaderboard.md
    python -m benchmarks.published --differences --niid-splits

Cells are the files in benchmarks/published/cells. Each run adds a row to
benchmarks/published/results/rows.jsonl: the stores' images, the curve, the machine and the time.
Run directories stay in runs/published, and the same command continues one that was stopped. With
--rounds or --epochs the row is marked as one at a reduced budget, and never counts as the published
cell. --niid-splits deals the images as NIID-Bench's own code does for the same seed. --table prints
the table of docs/results.md, and --differences the one of methods that had the same splits (of
NIID-Bench with --niid-splits, else ours). CIFAR-10 and Fashion-MNIST are searched like in
`flower-simulation`, in a folder that FEDSHELF_DATA may name.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.published import cells, differences, leaderboard, niid_splits, play, table
from fedshelf.common.errors import FedshelfError


def main() -> None:
    """Run the cells, one after the other; exit code 1 if one could not be run here."""
    options = _options()
    if options.table or options.leaderboard or options.differences:
        print(_page(options), end="")
        return
    chosen = [cells.read(name).reduced(options.rounds, options.epochs) for name in options.cells]
    if not chosen:
        raise SystemExit(f"No cell was named; expected some of: {', '.join(cells.names())}.")
    missed = []
    for cell in chosen:
        for seed in options.seeds:
            try:
                wanted = cell.seeded(seed)
                if options.niid_splits:
                    wanted = niid_splits.dealt_as_there(wanted, play.RUNS / "splits")
                play.append(play.play(wanted, options.workers), options.out)
            except SystemExit:
                missed.append(f"{cell.name}, seed {seed}")
    if options.niid_splits:
        chosen = [replace(cell, split=niid_splits.NAME) for cell in chosen]
    show(chosen, play.load(options.out))
    if missed:
        raise SystemExit(f"Not measured: {'; '.join(missed)}; the reason is said above.")


def _page(options: argparse.Namespace) -> str:
    """Return the table or the page that was asked for."""
    known = [cells.read(name) for name in cells.names()]
    rows = play.load(options.out)
    if options.differences:
        split = niid_splits.NAME if options.niid_splits else ""
        return differences.markdown(known, rows, split)
    return table.markdown(known, rows) if options.table else leaderboard.page(known, rows)


def show(chosen: list[cells.Cell], rows: list[play.Row]) -> None:
    """Print the table of these cells."""
    shown = Table(title="Test accuracy, %; means over seeds", title_justify="left")
    for title in table.HEAD:
        shown.add_column(title)
    for cell in chosen:
        shown.add_row(*table.line(cell, rows))
    Console(width=None if sys.stdout.isatty() else 200).print(shown)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cells", nargs="*", metavar="CELL", help="cells to run")
    parser.add_argument(
        "--seeds", type=_numbers, default=[0], help="numbers, separated by commas; default 0"
    )
    parser.add_argument("--rounds", type=int, help="fewer rounds than published")
    parser.add_argument("--epochs", type=int, help="fewer local epochs than published")
    parser.add_argument(
        "--niid-splits", action="store_true", help="deal the images as NIID-Bench does"
    )
    parser.add_argument(
        "--workers", type=int, default=0, help="processes on a CPU; default: one per core"
    )
    parser.add_argument(
        "--out", type=Path, default=play.ROWS, metavar="FILE", help="where the rows go"
    )
    parser.add_argument(
        "--table", action="store_true", help="print the table of all cells instead, as Markdown"
    )
    parser.add_argument(
        "--leaderboard", action="store_true", help="print docs/leaderboard.md instead"
    )
    parser.add_argument(
        "--differences", action="store_true", help="print how far methods are from FedAvg instead"
    )
    return parser.parse_args()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    try:
        main()
    except FedshelfError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None  # the same command goes on from the last round's checkpoint
