"""A comparison in the terminal: its progress and its results."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list
from fedshelf.server.figure_names import listed_figures
from fedshelf.server.formatting import decimal, percent
from fedshelf.simulations.compare.arms.arms import ALONE, FEDERATED, LONGER, POOLED, TUNED, WITHOUT
from fedshelf.simulations.compare.trainer import ArmResult, ArmTrainer
from fedshelf.simulations.compare.wording.findings import TITLES, headline, of_store

ARM_TITLES = {
    FEDERATED: "federated",
    POOLED: "all images pooled",
    ALONE: "each store alone",
    LONGER: "each store alone, longer",
    TUNED: "fine-tuned per store",
    WITHOUT: "federated without one store",
}
MAX_STORE_LINES = 40  # stores with a line of their own; all are in the report
# Characters of the longest figure, "100.0%": in a narrow terminal names are cut, figures never.
FIGURE_WIDTH = 6
# Without a live terminal, the progress is checked so often, and printed after so much more work.
PROGRESS_POLL_SECONDS = 2.0
MIN_SHARE_OF_WORK = 0.02


def follow(trainer: ArmTrainer, name: str, console: Console) -> Mapping[int, ArmResult]:
    """Run the trainer to its end, or until a person stops it, and show its progress.

    Args:
        trainer: the trainer of one seed's arms
        name: the name of its work, such as "seed 0"
        console: shows the progress

    Returns:
        The outcomes, by the number of the arm.

    Raises:
        FedshelfError: an arm cannot go on.
        OSError: a file of an arm cannot be read or written.
    """
    is_live = console.is_terminal and not console.is_dumb_terminal
    live = Live(
        get_renderable=lambda: _progress(trainer, name), console=console, refresh_per_second=2
    )
    with trainer.stop.on_signals(), live if is_live else _lines(trainer, name, console):
        return {outcome.number: outcome for outcome in trainer.outcomes()}


def print_stopped(
    trainer: ArmTrainer, name: str, finished: Sequence[str], console: Console
) -> None:
    """Print the progress of a comparison that was stopped, from its files.

    Args:
        trainer: the trainer of one seed's arms
        name: the name of its work
        finished: names of the work done before
        console: gets the line
    """
    trainer.recount()
    before = f"{format_list(finished)} finished; " if finished else ""
    line = f"Stopped: {before}{name}: {trainer.progress.summary()}."
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_how_to_resume(path: Path, console: Console) -> None:
    """Print how a stopped comparison can be resumed."""
    line = f"To go on: flower-simulation compare --resume --out {path}"
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def print_results(results: Mapping[str, Any], path: Path, console: Console) -> None:
    """Print the answer, a line per store, and the path of the report.

    Args:
        results: the content of `compare.json`
        path: the comparison's directory
        console: gets the lines
    """
    console.print(_table(results))
    for line in headline(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for label, store in list(results["stores"].items())[:MAX_STORE_LINES]:
        line = of_store(label, store, is_dealt_anew=results["seeds"]["is_dealt_anew"])
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report: {path / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _lines(trainer: ArmTrainer, name: str, console: Console) -> Iterator[None]:
    """Print a line from time to time while the context is open."""
    ended = Event()
    began = time.monotonic()

    def print_progress() -> None:
        seconds = time.monotonic() - began
        progress = f"{name}: {percent(trainer.progress.share())} done after {seconds:.0f} s"
        console.print(
            f"{progress}: {trainer.progress.summary()}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )

    def watch() -> None:
        last = trainer.progress.share()
        while not ended.wait(PROGRESS_POLL_SECONDS):
            if trainer.progress.share() >= last + MIN_SHARE_OF_WORK:
                last = trainer.progress.share()
                print_progress()

    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _progress(trainer: ArmTrainer, name: str) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(name)
    for kind, title in ARM_TITLES.items():
        share, num_arms = trainer.progress.of(kind)
        if num_arms:
            grid.add_row(
                title,
                ProgressBar(total=1.0, completed=share, width=30),
                percent(share),
                format_count(num_arms, "part"),
            )
    for note in trainer.progress.notes:
        grid.add_row(note)
    return grid


def _table(results: Mapping[str, Any]) -> Table:
    kinds = list(results["average"])
    table = Table(
        title="Right on the store's own held-out images", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("store", no_wrap=True)
    for name in ("images", *(TITLES[kind].lower().replace(" ", "\n") for kind in kinds), "gain"):
        table.add_column(name, justify="right", no_wrap=True, min_width=FIGURE_WIDTH)
    for label, store in list(results["stores"].items())[:MAX_STORE_LINES]:
        accuracies = [percent(store["models"][kind].get("accuracy")) for kind in kinds]
        gain = store["gain"][FEDERATED]
        table.add_row(
            printable(label),
            f"{store['images']:,}",
            *accuracies,
            f"{gain['points']:+.1f}" if gain else "–",
        )
    means = [percent(results["average"][kind]["accuracy"]) for kind in kinds]
    table.add_section()
    table.add_row("average", "", *means, f"{results['gains'][FEDERATED][ALONE]['points']:+.1f}")
    together = [results["average"][kind]["all_images"] for kind in kinds]
    for figure in listed_figures(together[0]):
        table.add_row(printable(figure), "", *(decimal(each.get(figure)) for each in together))
    return table
