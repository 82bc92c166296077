"""Output of `flower-server status`: for a person, or as JSON for a program."""

import dataclasses
import json
import time
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedshelf.common.text import printable
from fedshelf.server import formatting
from fedshelf.server.figure_names import MAIN_TITLES
from fedshelf.server.monitor import wording
from fedshelf.server.monitor.state import RunState
from fedshelf.server.results.given_models import spoilt_words
from fedshelf.server.results.run_status import FAILED_STATES, HELD_UP, WORDS, RunStatus

MAX_STORES_SHOWN = 30  # rows at most; stores that need a person come first
MAX_FAILURES_SHOWN = 10
MAX_NOTES_SHOWN = 8
NUMBER_COLUMNS = frozenset({
    "accuracy", *MAIN_TITLES.values(), "images", "rounds", "failures", "times",
})  # fmt: skip
STATE_COLOURS = {
    "ready": "green", "training": "blue", "evaluating": "blue", "resting": "yellow", "away": "red",
    "refused": "red", "set-aside": "red", "revoked": "red",
}  # fmt: skip


def show(state: RunState, console: Console) -> None:
    """Print the state for a person."""
    status = (WORDS[state.status], _colour(state.status))
    console.print(Text.assemble((printable(state.name), "bold"), "  ", status))
    console.print(wording.headline(state), markup=False, highlight=False, soft_wrap=True)
    if instants := wording.held_up(state):
        instants_line = ", ".join(
            f"{words} {time.strftime('%H:%M:%S', time.localtime(at))}" for words, at in instants
        )
        console.print(f"{instants_line}.", highlight=False)
    if state.spoilt_at:
        console.print(
            printable(spoilt_words(state.spoilt_at)), style="red", markup=False, soft_wrap=True
        )
    parts: list[Any] = [_progress_bar(state)]
    if state.stores:
        parts.append(_store_table(state))
    if state.taken_back:
        parts.append(_rollback_table(state))
    if state.troubles:
        parts.append(_failure_table(state))
    if state.notes:
        parts.append(_note_table(state))
    console.print(Group(*parts))


def _colour(status: RunStatus) -> str:
    if status in FAILED_STATES:
        return "red"
    if status in HELD_UP:
        return "yellow"
    return "green" if status is RunStatus.FINISHED else "blue"


def as_json(state: RunState) -> str:
    """Return the whole state as one JSON object; times are Unix times (s)."""
    return json.dumps(dataclasses.asdict(state), ensure_ascii=False, indent=2)


def _progress_bar(state: RunState) -> Padding:
    latest = wording.latest_figure(state)
    facts = []
    if latest:
        figure = wording.figure_title(state)
        facts.append(f"{formatting.percent(latest[1])} {latest[0]} {figure}")
        facts += wording.other_figures(state)
    if state.images_per_second:
        facts.append(f"{formatting.whole(state.images_per_second)} images/s")
    if state.ends:
        left = state.ends - time.time()
        facts.append(
            f"{formatting.duration(left)} left" if left > 0 else "it takes longer than expected"
        )
    if state.down or state.up:
        facts.append(f"{formatting.size(state.down)} sent, {formatting.size(state.up)} received")
    grid = Table.grid(padding=(0, 2, 0, 0))
    done = f"{state.round:,}/{state.rounds:,} rounds"
    grid.add_row(
        ProgressBar(total=max(1, state.rounds), completed=state.round, width=24), Text(done)
    )
    return Padding(Group(grid, Text(" · ".join(facts), style="dim")), (1, 0))


def _store_table(state: RunState) -> Table:
    figure = wording.figure_title(state)
    has_states = state.is_at_work  # the stores' states; unknown once the run is over
    table = _new_table(
        "store", *(["state"] if has_states else []), figure, "images", "rounds", "failures"
    )
    for store in (shown := wording.sort_by_need(state.stores))[:MAX_STORES_SHOWN]:
        why = f" ({printable(store.why)})" if store.why else ""
        state_text = Text(
            wording.store_state(store) + why, style=STATE_COLOURS.get(store.state, "")
        )
        table.add_row(
            Text(printable(store.name)),
            *([state_text] if has_states else []),
            formatting.percent(store.quality),
            formatting.whole(store.images),
            formatting.whole(store.rounds),
            formatting.whole(store.failures) if store.failures else "",
        )
    if len(shown) > MAX_STORES_SHOWN:
        table.add_row(Text(f"and {len(shown) - MAX_STORES_SHOWN:,} more", style="dim"))
    return table


def _rollback_table(state: RunState) -> Table:
    table = _new_table("round taken back", "without", "why")
    for rollback in state.taken_back[-MAX_FAILURES_SHOWN:]:
        table.add_row(
            str(rollback.round), Text(printable(rollback.store)), Text(printable(rollback.reason))
        )
    return table


def _failure_table(state: RunState) -> Table:
    table = _new_table("what went wrong", "", "times", "in rounds")
    for failure in state.troubles[:MAX_FAILURES_SHOWN]:
        reason = printable(failure.reason)
        what = Text.assemble(
            wording.failure_words(failure), (f" ({reason})" if reason else "", "dim")
        )
        times = len(failure.rounds)
        rounds = formatting.rounds(failure.rounds, 4)
        table.add_row(Text(printable(failure.store)), what, str(times), rounds)
    if len(state.troubles) > MAX_FAILURES_SHOWN:
        table.add_row(Text(f"and {len(state.troubles) - MAX_FAILURES_SHOWN:,} more", style="dim"))
    return table


def _note_table(state: RunState) -> Table:
    table = _new_table("log", "")
    for note in state.notes[-MAX_NOTES_SHOWN:]:
        at = time.strftime("%H:%M:%S", time.localtime(note.at))
        table.add_row(Text(at, style="dim"), Text(printable(note.text)))
    return table


def _new_table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for heading in headings:
        table.add_column(heading, justify="right" if heading in NUMBER_COLUMNS else "left")
    return table
