"""A store's work: the connection to its server, and a console report in plain words."""

import signal
from contextlib import closing
from types import FrameType
from typing import NoReturn

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.errors import NO_CONNECTION, STARTING
from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.identity.home import store_home
from fedshelf.client.policy.policy import policy_of
from fedshelf.client.process.console import log_in_plain_words, say
from fedshelf.client.process.settings import Settings
from fedshelf.client.process.worker_process import WorkerProcess
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.client.session.poll_loop import serve
from fedshelf.client.session.recorder import SessionRecorder


def join_as_store(credentials: Credentials, settings: Settings, wait: float) -> None:
    """Serve orders until Ctrl-C or SIGTERM.

    Raises ConfigError for a device that does not exist, NetworkError if no server appears within
    `wait` seconds, RefusedError if it does not admit this store.
    """
    log_in_plain_words()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    home = store_home(settings.store)
    with (
        SessionRecorder(home, policy_of(home), credentials.private_key) as books,
        closing(WorkerProcess(settings, books.photos_changed)) as workshop,
    ):
        say(f"Waiting for the server at {credentials.server}.")
        try:
            serve(
                credentials,
                OrderQueue(workshop, books),
                ConsoleConnectionObserver(credentials.known_addresses, books),
                wait,
            )
        except KeyboardInterrupt:
            say("Left.")
            books.left()


class ConsoleConnectionObserver:
    """A `client.connection.events.ConnectionObserver` that prints and records the events."""

    def __init__(self, addresses: KnownAddresses, books: SessionRecorder) -> None:
        self._addresses = addresses
        self._books = books
        self._has_joined = False

    def joined(self) -> None:
        """Print and record that the server knows this store."""
        self._books.joined(self._addresses.last_answering)
        say("Joined again." if self._has_joined else "Joined; waiting for work. Ctrl-C leaves.")
        self._has_joined = True

    def lost(self, reason: str) -> None:
        """Print that the server does not answer."""
        if self._has_joined:
            say(f"Lost the server ({reason}); trying again until it is back. Ctrl-C leaves.")
        elif reason not in (NO_CONNECTION, STARTING):
            say(
                f"The server does not let this store in yet: {reason}. Trying again; Ctrl-C leaves."
            )

    def found(self) -> None:
        """Print that the server answers again."""
        if self._has_joined:
            say("The server is back.")


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as on Ctrl-C; needed also where a shell starts us in the background, which disables
    Ctrl-C.
    """
    raise KeyboardInterrupt
