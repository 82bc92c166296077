"""A comparison in the terminal: how far it is, and what it found."""

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from server.report.words import counted, percent, printable
from simulations.compare.crew import Crew, Outcome
from simulations.compare.parts import ALONE, FEDERATED, POOLED, TUNED, WITHOUT, Part
from simulations.compare.words import headline, of_store

KINDS = {
    FEDERATED: "federated",
    POOLED: "all images pooled",
    ALONE: "each store alone",
    TUNED: "fine-tuned per store",
    WITHOUT: "federated without one store",
}
MOST_STORES = 40  # that get a line of their own; all are in the report


def follow(crew: Crew, parts: Sequence[Part], console: Console) -> Mapping[int, Outcome]:
    """Let the crew work to its end, or to the end that a person asks for, showing how far it is: outcomes by number.

    Raises FedshelfError or OSError if a part cannot go on.
    """
    lively = console.is_terminal and not console.is_dumb_terminal
    live = Live(get_renderable=lambda: _progress(crew), console=console, refresh_per_second=2) if lively else None
    outcomes: dict[int, Outcome] = {}
    began = time.monotonic()
    with crew.stop.on_signals(), live or nullcontext():
        for outcome in crew.outcomes():
            outcomes[outcome.number] = outcome
            if not lively:
                done = f"{len(outcomes)}/{len(parts)} parts"
                told = f"part={parts[outcome.number].name} status={outcome.summary.get('status', 'stopped')}"
                console.print(f"{told} done={done} seconds={time.monotonic() - began:.1f}", markup=False)
    return outcomes


def closing(found: Mapping[str, Any], path: Path, console: Console) -> None:
    """The answer, a line per store, and where the report is."""
    console.print(_table(found))
    for line in headline(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for name, store in list(found["stores"].items())[:MOST_STORES]:
        console.print(f"  {of_store(name, store)}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Report: {path / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def _progress(crew: Crew) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for kind, told in KINDS.items():
        share, parts = crew.progress.of(kind)
        if parts:
            grid.add_row(
                told, ProgressBar(total=1.0, completed=share, width=30), percent(share), counted(parts, "part")
            )
    for note in crew.progress.notes:
        grid.add_row(note)
    return grid


def _table(found: Mapping[str, Any]) -> Table:
    kinds = list(found["average"])
    table = Table(title="Right on the store's own held-out images", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("store", no_wrap=True)
    for name in ("images", *kinds, "gain"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, store in list(found["stores"].items())[:MOST_STORES]:
        accuracies = [percent(store["models"][kind].get("accuracy")) for kind in kinds]
        gain = store["gain"][FEDERATED]
        table.add_row(printable(name), f"{store['images']:,}", *accuracies, f"{gain['points']:+.1f}" if gain else "–")
    means = [percent(found["average"][kind]["accuracy"]) for kind in kinds]
    table.add_section()
    table.add_row("average", "", *means, f"{found['gains'][FEDERATED][ALONE]['points']:+.1f}")
    return table
