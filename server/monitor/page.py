"""The live page's parts as markup. Texts that come from stores are escaped everywhere."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedshelf.common.text import printable
from fedshelf.server import formatting
from fedshelf.server.figure_names import figure_heading
from fedshelf.server.monitor import wording
from fedshelf.server.monitor.state import RunState
from fedshelf.server.report.charts.line_chart import LineChart, line_chart
from fedshelf.server.results.given_models import spoilt_words
from fedshelf.server.results.run_status import WORDS

TEMPLATE_FOLDER = Path(__file__).parent
REPORT_FOLDER = TEMPLATE_FOLDER.parent / "report"
PAGE_PARTS = ("head", "tiles", "curves", "stores", "taken_back", "troubles", "log")
# rows at once, and at most on demand
MAX_ROWS_SHOWN = {
    "stores": (40, 400),
    "taken_back": (8, 100),
    "troubles": (8, 100),
    "log": (12, 100),
}


@dataclass(frozen=True)
class LiveTile:
    """A headline number with its name and a remark.

    Attributes:
        name:   its name
        value:  the number as text
        remark: a few words on it
        at:     Unix time (s) to show instead of the number, or None
    """

    name: str
    value: str
    remark: str = ""
    at: float | None = None


@dataclass(frozen=True)
class TableRows:
    """Rows of a table.

    Attributes:
        first: those shown at once
        rest:  those shown on demand
        more:  number of the others
    """

    first: Sequence[Any]
    rest: Sequence[Any]
    more: int

    @classmethod
    def of(cls, part: str, rows: Sequence[Any]) -> "TableRows":
        """Cut rows to the numbers that a part of the page shows.

        Args:
            part: name of the part, a key of MAX_ROWS_SHOWN
            rows: all rows
        """
        at_once, at_most = MAX_ROWS_SHOWN[part]
        return cls(rows[:at_once], rows[at_once:at_most], max(0, len(rows) - at_most))


class PageView:
    """Renders states as HTML."""

    def __init__(self) -> None:
        environment = Environment(
            loader=FileSystemLoader([TEMPLATE_FOLDER, REPORT_FOLDER]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "printable": printable, "percent": formatting.percent, "decimal": formatting.decimal,
            "whole":
            formatting.whole, "duration": formatting.duration, "rounds": formatting.rounds,
            "clock": format_clock, "state": wording.store_state, "heading": figure_heading,
            "trouble": wording.failure_words,
        }  # fmt: skip
        self._page = environment.get_template("live.html.j2")
        self._parts: Any = environment.get_template("parts.html.j2").module

    def parts(self, state: RunState) -> dict[str, str]:
        """Return the page's parts as HTML, by the id of their place."""
        values = {
            "head": (
                state,
                WORDS[state.status],
                wording.headline(state),
                wording.held_up(state),
                _share_done(state),
            ),
            "tiles": (tiles(state),),
            "curves": (figure_chart(state), loss_chart(state)),
            "stores": (state, TableRows.of("stores", wording.sort_by_need(state.stores))),
            "taken_back": (
                TableRows.of("taken_back", state.taken_back[::-1]),
                spoilt_words(state.spoilt_at),
            ),
            "troubles": (TableRows.of("troubles", state.troubles),),
            "log": (TableRows.of("log", state.notes[::-1]),),
        }
        return {part: str(getattr(self._parts, part)(*values[part])) for part in PAGE_PARTS}

    def page(self, state: RunState, parts: Mapping[str, str], version: str) -> str:
        """Return the whole page, as it is before the first update.

        Args:
            state:   state of the run
            parts:   the page's parts, see `parts`
            version: name of this version of the parts
        """
        is_over = not state.is_at_work
        return self._page.render(
            title=wording.title(state), parts=parts, version=version, over=is_over
        )


def tiles(state: RunState) -> list[LiveTile]:
    """Return the numbers on top; unknown ones are left out."""
    tile_list = []
    if latest := wording.latest_figure(state):
        tile_list.append(
            LiveTile(
                f"{latest[0].capitalize()} {wording.figure_title(state)}",
                formatting.percent(latest[1]),
                ", ".join(filter(None, (*wording.other_figures(state), _best_remark(state)))),
            )
        )
    pace = (
        f"{formatting.duration(state.seconds_per_round)} a round" if state.seconds_per_round else ""
    )
    tile_list.append(LiveTile("Rounds", f"{state.round:,} / {state.rounds:,}", pace))
    if state.stores:
        store_counts = (
            f"{state.present:,} / {len(state.stores):,}"
            if state.is_at_work
            else f"{len(state.stores):,}"
        )
        tile_list.append(LiveTile("Stores", store_counts, f"{state.quorum:,} needed for a round"))
    if state.images_per_second:
        hourly = (
            f"{formatting.whole(3600 / state.seconds_per_round)} rounds an hour"
            if state.seconds_per_round
            else ""
        )
        tile_list.append(
            LiveTile("Images a second", formatting.whole(state.images_per_second), hourly)
        )
    if state.ends:
        tile_list.append(LiveTile("Expected end", "", at=state.ends))
    elif state.last_round_at:
        tile_list.append(LiveTile("Last round", "", at=state.last_round_at))
    if state.down or state.up:
        traffic = f"{formatting.size(state.down)} sent, {formatting.size(state.up)} received"
        tile_list.append(LiveTile("Traffic", formatting.size(state.down + state.up), traffic))
    return tile_list


def _best_remark(state: RunState) -> str:
    if state.best is None:
        return ""
    round_number, value = state.best
    return (
        "the best so far"
        if round_number == state.round
        else f"best {formatting.percent(value)}, round {round_number:,}"
    )


def figure_chart(state: RunState) -> LineChart | None:
    """Draw the main figure over rounds, the best round marked."""
    mark = (state.best[0], f"best: {state.best[0]}") if state.best else None
    return line_chart(
        figure_heading(state.figure),
        state.quality,
        formatting.percent,
        format_tick=lambda share: f"{100 * share:.4g}%",
        mark=mark,
    )


def loss_chart(state: RunState) -> LineChart | None:
    """Draw loss over rounds."""
    return line_chart(
        "Loss",
        state.loss,
        formatting.decimal,
        format_tick=lambda value: f"{value:.4g}",
        from_zero=True,
    )


def format_clock(at: float) -> str:
    """Format a Unix time (s) by the server's clock.

    The page replaces it by the reader's own time.
    """
    return time.strftime("%H:%M:%S", time.localtime(at))


def _share_done(state: RunState) -> float:
    """Return the share of the run that is done (0..1); the current round counts by its answers."""
    part = state.underway.done / max(1, state.underway.sampled) if state.underway else 0.0
    return min(1.0, (state.round + part) / state.rounds) if state.rounds else 0.0
