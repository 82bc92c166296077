"""A run's progress in a notebook: one cell of HTML that changes in place."""

import sys
from collections.abc import Mapping
from html import escape
from types import TracebackType
from typing import Any, Self

from fedshelf.common.text import printable
from fedshelf.server.figure_names import main_figure
from fedshelf.server.formatting import decimal, percent
from fedshelf.server.results.run_status import RunActivity

MAX_ROUNDS_SHOWN = 8
MAX_NOTES_SHOWN = 6
CELL = "text-align:right;padding:0 .8em"


def is_notebook() -> bool:
    """Return whether this program runs in the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


class NotebookDisplay:
    """Shows the rounds of a run in the output of a notebook's cell.

    Args:
        rounds: planned
    """

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._records: list[Mapping[str, Any]] = []
        self._notes: list[str] = []
        self._words = ""
        self._handle: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._words = ""
        self._draw()

    def row(self, record: Mapping[str, Any]) -> None:
        """Show a completed round."""
        self._records.append(record)
        self._draw()

    def note(self, text: str) -> None:
        """Show a line above the rounds."""
        self._notes.append(printable(text))
        self._draw()

    def doing(self, doing: RunActivity) -> None:
        """Show the run's activity."""
        self._words = doing.sentence(self._rounds)
        self._draw()

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Show nothing: a message for each store would be too many for a notebook."""

    def html(self) -> str:
        """Return the present state as HTML."""
        done = self._records[-1]["round"] if self._records else 0
        notes = "".join(f"<div>{escape(note)}</div>" for note in self._notes[-MAX_NOTES_SHOWN:])
        return (
            f"{notes}<progress max={self._rounds} value={done}></progress>"
            f" {done}/{self._rounds} rounds <small>{escape(self._words)}</small>"
            f"{rounds_table(self._records[-MAX_ROUNDS_SHOWN:])}"
        )

    def _draw(self) -> None:
        from IPython.display import HTML, display  # a notebook has it

        shown = HTML(self.html())
        if self._handle is None:
            self._handle = display(shown, display_id=True)
        else:
            self._handle.update(shown)


def rounds_table(records: list[Mapping[str, Any]]) -> str:
    """Return rounds as a table in HTML; empty without any."""
    if not records:
        return ""
    rows = [
        [
            str(record["round"]),
            "" if record["train"]["loss"] is None else decimal(record["train"]["loss"], 4),
            *(percent(_figure(record, split)) for split in ("validation", "test")),
            f"{len(record['stores'])}/{len(record['sampled'])}",
        ]
        for record in records
    ]
    return table(("round", "train loss", "validation", "test", "stores"), rows)


def table(columns: tuple[str, ...], rows: list[list[str]]) -> str:
    """Return a table in HTML, its texts escaped."""
    head = "".join(f"<th style='{CELL}'>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr>{''.join(f'<td style={CELL!r}>{escape(cell)}</td>' for cell in row)}</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(record: Mapping[str, Any], split: str) -> float | None:
    """Return the main figure of a split: accuracy, or of scenes AP or IoU."""
    return record[split][main_figure(record[split])] if record[split] else None
