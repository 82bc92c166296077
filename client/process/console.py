"""What the person at a store's machine reads."""

import logging
from datetime import datetime
from typing import Any

from fedshelf.common.text import MAX_CHARACTERS, plain

TIME = "%Y-%m-%d %H:%M:%S"  # local, before each line: a log is read days later


def say(text: str) -> None:
    """Print one line, with the local time before it."""
    print(f"{datetime.now():{TIME}} {text}", flush=True)


def log_in_plain_words() -> None:
    """Our own log lines look like all others; those of libraries stay quiet."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain("%(asctime)s %(message)s", TIME))
    log = logging.getLogger("fedshelf")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


class _Plain(logging.Formatter):
    """What a server wrote can neither steer the terminal nor look like a line of ours."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return plain(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return "\n".join(plain(line, 2 * MAX_CHARACTERS) for line in super().formatException(ei).split("\n"))
