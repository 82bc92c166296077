"""Output of a running run for programs: one JSON object per line, for a log collector."""

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from fedshelf.common.text import printable
from fedshelf.server.figure_names import SCENE_FIGURES, listed_figures, main_figure
from fedshelf.server.report.naming import describe_outcome
from fedshelf.server.results.run_status import HELD_UP, RunActivity, RunStatus


class JsonLog:
    """Writes the events that `RoundTable` shows, each as a line with these fields in this order.

        time:  ISO 8601 in UTC, with milliseconds
        level: info; warning for a round in which a store failed; error for a run that failed
        event: note; round (it is done); else the run's new status or outcome, in the words of
               `RunStatus`
        text:  the same in words

    A round's lines have "round" and "rounds", and at its end the values of a line of the table:
    "accuracy", or for scenes "ap", "ap_50" and "count_error", or "iou"; where no more is known
    of scenes, "photos_without_mistake" or "photos_of_iou_75".
    Rounds of earlier starts, which a resumed run only reads, are not written again.

    Args:
        total_rounds: planned rounds
        stream:       where to write; None: standard output
    """

    def __init__(self, total_rounds: int, stream: IO[str] | None = None) -> None:
        self._total_rounds = total_rounds
        self._stream = stream or sys.stdout
        self._current_round = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Write the error that ended the run, if there was one."""
        if error is not None:
            self._write("error", "failed", printable(error) or "Stopped at once.")

    def note(self, text: str) -> None:
        """Write a message."""
        self._write("info", "note", printable(text))

    def doing(self, doing: RunActivity) -> None:
        """Write the run's new activity.

        The begin of a round's training is written by `training`, with the number of asked stores.
        """
        if doing.status is RunStatus.TRAINING:
            return
        waiting = {
            "stores": list(doing.stores),
            "needed": doing.needed,
            "until": _format_time(doing.until),
        }
        details = waiting if doing.status in HELD_UP else {}
        self._write(
            "info",
            doing.status,
            doing.sentence(self._total_rounds),
            round=doing.round,
            rounds=self._total_rounds,
            **details,
        )

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Write that a round has begun; nothing for the answers that come in."""
        if done == 0:
            self._current_round = round_number
            text = f"Round {round_number} of {self._total_rounds} has begun."
            self._write(
                "info",
                "training",
                text,
                round=round_number,
                rounds=self._total_rounds,
                sampled=sampled,
            )

    def row(self, record: Mapping[str, Any]) -> None:
        """Write that a round is done, given as its history record."""
        round_number = record["round"]
        failed = record["failed"]
        if round_number != self._current_round:
            return
        self._current_round = 0
        text = f"Round {round_number} of {self._total_rounds} is done."
        self._write(
            "warning" if failed else "info", "round", text,
            round=round_number, rounds=self._total_rounds, loss=record["train"]["loss"],
            **_figures(record),
            stores=len(record["stores"]), sampled=len(record["sampled"]),
            failed={store: dict(failure) for store, failure in failed.items()},
            seconds=record["seconds"], bytes=record["bytes"],
        )  # fmt: skip

    def closing(self, summary: Mapping[str, Any], out: Path) -> None:
        """Write the outcome, and where its files are."""
        status = str(summary.get("status"))
        text = " ".join(printable(line) for line in describe_outcome(summary, out))
        level = "error" if status == "failed" else "info"
        self._write(level, status, text, rounds=summary.get("rounds"), directory=str(out))

    def _write(self, level: str, event: str, text: str, **more: Any) -> None:
        line = {
            "time": _format_time(time.time()),
            "level": level,
            "event": event,
            "text": text,
            **more,
        }
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


def _figures(record: Mapping[str, Any]) -> dict[str, dict[str, float | None]]:
    """Return the figures of a round, each by the images that it is of: accuracy, or of scenes AP.

    Those of scenes have their names in the history: ap and ap_50 with count_error, or iou.
    """
    judged = {name: record[name] for name in ("test", "validation") if record.get(name)}
    latest = next(iter(judged.values()), None)
    main = main_figure(latest)
    keys = [main, *(listed_figures(latest) if main in SCENE_FIGURES else ())]
    return {key: {name: found.get(key) for name, found in judged.items()} for key in keys}


def _format_time(at: float | None) -> str | None:
    """Format Unix time (s) as ISO 8601 in UTC, with milliseconds; None stays None."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
