"""Output for the person at a store's machine."""

import logging
from datetime import datetime
from typing import Any

from fedshelf.common.text import MAX_CHARACTERS, sanitize

TIME_FORMAT = (
    "%Y-%m-%d %H:%M:%S"  # local time before each line, with the date: a log is read days later
)


def say(text: str) -> None:
    """Print one line, with the local time before it."""
    print(f"{datetime.now():{TIME_FORMAT}} {text}", flush=True)


def configure_logging() -> None:
    """Format our own log lines like all others; keep those of libraries quiet."""
    handler = logging.StreamHandler()
    handler.setFormatter(_PlainTextFormatter("%(asctime)s %(message)s", TIME_FORMAT))
    log = logging.getLogger("fedshelf")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


class _PlainTextFormatter(logging.Formatter):
    """A formatter that keeps a server's text from steering the terminal or imitating a line of
    ours.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return sanitize(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(
            sanitize(line, 2 * MAX_CHARACTERS) for line in super().formatException(ei).split("\n")
        )
