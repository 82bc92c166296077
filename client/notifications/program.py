"""A program that is run for each message."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress

from fedshelf.client.notifications.background import Message, NotSentError
from fedshelf.common.errors import ConfigError

LIMIT_SECONDS = 30.0
"""Time after which the program is ended."""


def parse_command(command: str) -> list[str]:
    """Return the words of a command that a person gave; no shell ever reads them.

    Raises:
        ConfigError: there is no such program, or a quote is left open.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"--command got {command!r}: {error}.") from None
    if not words or shutil.which(words[0]) is None:
        raise ConfigError(
            f"--command got {command!r}; expected a program that is installed, and its arguments."
            " For pipes and variables name a script, or a shell: sh -c '...'."
        )
    return words


def program(words: list[str], limit: float = LIMIT_SECONDS) -> Callable[[Message], None]:
    """Return a function that runs a program with a message as JSON on its standard input.

    Args:
        words: the program and its arguments
        limit: seconds; after them the program and all that it started are ended
    """

    def run(message: Message) -> None:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # ours has the timeline
                start_new_session=True,  # a group of its own, and no Ctrl-C from our terminal
            )
        except OSError as error:
            raise NotSentError(f"{words[0]} cannot be run ({error.strerror}).") from error
        try:
            process.communicate((json.dumps(message) + "\n").encode(), limit)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise NotSentError(f"{words[0]} took longer than {limit:g} s.") from None
        if process.returncode:
            raise NotSentError(f"{words[0]} ended with code {process.returncode}.")

    return run
