"""What the person at a store's machine reads."""

import logging


def say(text: str) -> None:
    """One line."""
    print(text, flush=True)


def log_in_plain_words() -> None:
    """Our own log lines look like all others; those of libraries stay quiet."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("fedshelf")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
