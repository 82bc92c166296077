"""Console output of a running run: a live table in a terminal, one line per round elsewhere."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server.figure_names import main_figure, main_title
from fedshelf.server.formatting import decimal, duration, percent
from fedshelf.server.report.naming import describe_outcome
from fedshelf.server.results.run_status import HELD_UP, WORDS, RunActivity, RunStatus

MAX_TABLE_ROWS = 15
# lines of the live display beside the rounds: borders, header, progress, room for the prompt
OTHER_ROWS = 8
REFRESH_SECONDS = 1 / 8
# Drawing takes some 10 ms; waiting this many times as long until the next keeps it below 1% of the
# run.
IDLE_FACTOR = 150
RECENT_ROUNDS = 20  # rounds whose mean time predicts the rest


class RoundTable:
    """Shows the rounds of a run: a context manager that gets each round once.

    With a terminal: a live table of the latest rounds above a progress bar. Without one: per round
    one line of key=value pairs, always in the same order, absent where not measured:

        round=3/20 loss=1.2300 test=0.8123 validation=0.7990 stores=9/10 failed=store-04:timeout
        seconds=0.310 eta=5

    Args:
        total_rounds: planned rounds
        first_round:  the first one to come
        console:      where to print; None: standard output
        per_store:    also print a line for each store of a round
    """

    def __init__(
        self,
        total_rounds: int,
        first_round: int = 1,
        *,
        console: Console | None = None,
        per_store: bool = False,
    ) -> None:
        self._total_rounds = total_rounds
        self._per_store = per_store
        self._rounds_done = first_round - 1
        # of the current round
        self._answered = 0
        self._sampled = 0
        self._status = RunStatus.STARTING
        self._records: deque[Mapping[str, Any]] = deque(maxlen=MAX_TABLE_ROWS)
        self._round_seconds: deque[float] = deque(maxlen=RECENT_ROUNDS)
        self._best: tuple[float, int] = (0.0, 0)  # main figure, round
        self._next_draw_at = 0.0
        self._started_at = time.monotonic()
        self._console = console or Console()
        is_live = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = (
            Live(console=self._console, auto_refresh=False, transient=False) if is_live else None
        )

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._draw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live:
            self._sampled = 0
            self._status = RunStatus.TRAINING
            self._draw()
            self._live.stop()

    def row(self, record: Mapping[str, Any]) -> None:
        """Show a completed round, given as its history record."""
        self._rounds_done = record["round"]
        self._answered = 0
        self._sampled = 0
        self._round_seconds.append(record["seconds"]["total"])
        self._records.append(record)
        if (figure := _comparable_figure(record) or 0.0) > self._best[0]:
            self._best = (figure, record["round"])
        if self._live:
            self._draw_if_due()
        else:
            self._print(format_round(record, self._total_rounds, self._seconds_left()))
        if self._per_store:
            for store, facts in record["stores"].items():
                self._print(f"  {format_store(store, facts)}")

    def doing(self, doing: RunActivity) -> None:
        """Show the run's activity beside the progress.

        Without a terminal nothing is shown: notes say what a run waits for.
        """
        if self._live:
            self._status = doing.status
            self._draw_if_due()

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Show how many of a round's stores have answered; without a terminal, nothing."""
        if self._live:
            self._rounds_done = round_number - 1
            self._answered = done
            self._sampled = sampled
            self._draw_if_due()

    def note(self, text: str) -> None:
        """Print a line among the rounds."""
        self._print(printable(text))

    def _print(self, text: str) -> None:
        if self._live:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif not self._console.quiet:  # a tenth of the cost, and no layout is needed
            print(text, file=self._console.file, flush=True)

    def _seconds_left(self) -> float:
        """Return the seconds until the last round, at the pace of the latest ones."""
        mean = sum(self._round_seconds) / len(self._round_seconds) if self._round_seconds else 0.0
        return mean * (self._total_rounds - self._rounds_completed())

    def _rounds_completed(self) -> float:
        """Return the rounds completed; the current one counts by its share of answers."""
        return self._rounds_done + (self._answered / self._sampled if self._sampled else 0.0)

    def _draw_if_due(self) -> None:
        if time.monotonic() >= self._next_draw_at:
            self._draw()

    def _draw(self) -> None:
        assert self._live
        started_at = time.monotonic()
        self._live.update(Group(self._table(), self._progress()), refresh=True)
        finished_at = time.monotonic()
        self._next_draw_at = finished_at + max(
            REFRESH_SECONDS, IDLE_FACTOR * (finished_at - started_at)
        )

    def _table(self) -> Table:
        records = list(self._records)[
            -max(1, min(MAX_TABLE_ROWS, self._console.height - OTHER_ROWS)) :
        ]
        evaluated = [
            name for name in ("test", "validation") if any(record[name] for record in records)
        ]
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        trains = any(record["train"]["loss"] is not None for record in records)
        for heading in (
            "round",
            *(("train loss",) if trains else ()),
            *(f"{name} {main_title(_latest(records, name))}" for name in evaluated),
            "stores",
            "seconds",
        ):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("failed", justify="left", no_wrap=True, overflow="ellipsis")
        for record in records:
            best = "bold green" if record["round"] == self._best[1] else ""
            table.add_row(
                str(record["round"]),
                *((decimal(record["train"]["loss"], 4),) if trains else ()),
                *(
                    Text(percent(_figure(record[name])) if record[name] else "", style=best)
                    for name in evaluated
                ),
                f"{len(record['stores'])}/{len(record['sampled'])}",
                f"{record['seconds']['total']:.2f}",
                Text(_format_failures(record, " "), style="red"),
            )
        return table

    def _progress(self) -> Table:
        parts = [duration(time.monotonic() - self._started_at)]
        if self._status not in (RunStatus.STARTING, RunStatus.TRAINING):
            parts.append(WORDS[self._status].lower())
        if (
            self._round_seconds
            and self._rounds_done < self._total_rounds
            and self._status not in HELD_UP
        ):
            parts.append(f"{duration(self._seconds_left())} left")
        if self._best[1]:
            parts.append(f"best {percent(self._best[0])} in round {self._best[1]}")
        if self._sampled:
            parts.append(f"{self._answered} of {format_count(self._sampled, 'store')} answered")
        grid = Table.grid(padding=(1, 2, 0, 0))
        grid.add_row(
            ProgressBar(total=self._total_rounds, completed=self._rounds_completed(), width=24),
            Text(f"{self._rounds_done}/{self._total_rounds} rounds", no_wrap=True),
            Text(" · ".join(parts), style="dim", overflow="ellipsis", no_wrap=True),
        )
        return grid


def format_round(record: Mapping[str, Any], total_rounds: int, seconds_left: float) -> str:
    """Format a round as key=value pairs in a fixed order.

    Args:
        record:       the round's history record
        total_rounds: planned rounds
        seconds_left: expected time until the last round
    """
    pairs = [("round", f"{record['round']}/{total_rounds}")]
    if record["train"]["loss"] is not None:  # a closed form trains nothing
        pairs.append(("loss", _format_number(record["train"]["loss"])))
    pairs += [
        (name, _format_number(_figure(record[name])))
        for name in ("test", "validation")
        if record[name]
    ]
    pairs.append(("stores", f"{len(record['stores'])}/{len(record['sampled'])}"))
    if record["failed"]:
        pairs.append(("failed", _format_failures(record, ",").replace(" ", "_")))
    pairs += [("seconds", f"{record['seconds']['total']:.3f}"), ("eta", f"{seconds_left:.0f}")]
    return " ".join(f"{key}={value}" for key, value in pairs)


def format_store(store: str, facts: Mapping[str, Any]) -> str:
    """Format a store's part of a round as key=value pairs in a fixed order.

    Args:
        store: its name
        facts: its entry in the round's history record
    """
    pairs = [("store", printable(store).replace(" ", "_")), ("images", str(facts["images"]))]
    forms = {"loss": _format_number, "norm": "{:.4g}".format, "seconds": "{:.3f}".format}
    # one that a store withholds, or that a secure sum hides, is left out
    pairs += [(key, form(facts[key])) for key, form in forms.items() if facts[key] is not None]
    return " ".join(f"{key}={value}" for key, value in pairs)


def print_outcome(summary: Mapping[str, Any], out: Path, *, console: Console | None = None) -> None:
    """Print the outcome; the last line says where the model is, or that there is none.

    Args:
        summary: the run's summary
        out:     run directory
        console: where to print; None: standard output
    """
    console = console or Console()
    report = out / "report.html"
    model = out / WEIGHTS_FILE
    lines = [printable(line) for line in describe_outcome(summary, out)]
    if report.exists():
        lines.append(f"Report: {report}")
    lines.append(f"Model: {model}" if model.exists() else "Model: none was written")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _comparable_figure(record: Mapping[str, Any]) -> float | None:
    """Return the figure that compares rounds: on validation images, else on test images."""
    evaluation = record["validation"] or record["test"]
    return _figure(evaluation) if evaluation else None


def _latest(records: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    """Return the latest evaluation of this name; there must be one (see `evaluation.every`)."""
    found: Mapping[str, Any] = next(record[name] for record in reversed(records) if record[name])
    return found


def _figure(evaluation: Mapping[str, Any]) -> float | None:
    """Return the figure that says how good a round's model is."""
    value: float | None = evaluation[main_figure(evaluation)]
    return value


def _format_number(value: float | None) -> str:
    return "nan" if value is None else f"{value:.4f}"


def _format_failures(record: Mapping[str, Any], separator: str, max_named: int = 3) -> str:
    """Return "store-04:timeout" for the first few failures, and "+7" for the rest."""
    named = [
        f"{printable(store)}:{failure['code']}"
        for store, failure in list(record["failed"].items())[:max_named]
    ]
    more = len(record["failed"]) - len(named)
    return separator.join([*named, f"+{more}"] if more else named)
