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
from fedshelf.client.process.console import configure_logging, say
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.client.session.poll_loop import serve
from fedshelf.client.session.recorder import SessionRecorder


def join_as_store(credentials: Credentials, settings: WorkerSettings, wait: float) -> None:
    """Serve orders until Ctrl-C or SIGTERM.

    Raises ConfigError for a device that does not exist, NetworkError if no server appears within
    `wait` seconds, RefusedError if it does not admit this store.
    """
    configure_logging()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, _raise_keyboard_interrupt)
    home = store_home(settings.store)
    with (
        SessionRecorder(home, policy_of(home), credentials.private_key) as recorder,
        closing(WorkerProcess(settings, recorder.record_photo_change)) as worker,
    ):
        say(f"Waiting for the server at {credentials.server}.")
        try:
            serve(
                credentials,
                OrderQueue(worker, recorder),
                ConsoleConnectionObserver(credentials.known_addresses, recorder),
                wait,
            )
        except KeyboardInterrupt:
            say("Left.")
            recorder.record_left()


class ConsoleConnectionObserver:
    """A `client.connection.fleet.ConnectionObserver` that prints and records the events."""

    def __init__(self, addresses: KnownAddresses, recorder: SessionRecorder) -> None:
        self._addresses = addresses
        self._recorder = recorder
        self._has_joined = False

    def on_joined(self) -> None:
        """Print and record that the server knows this store."""
        self._recorder.record_joined(self._addresses.last_answering)
        say("Joined again." if self._has_joined else "Joined; waiting for work. Ctrl-C leaves.")
        self._has_joined = True

    def on_lost(self, reason: str) -> None:
        """Print that the server does not answer."""
        if self._has_joined:
            say(f"Lost the server ({reason}); trying again until it is back. Ctrl-C leaves.")
        elif reason not in (NO_CONNECTION, STARTING):
            say(
                f"The server does not let this store in yet: {reason}. Trying again; Ctrl-C leaves."
            )

    def on_restored(self) -> None:
        """Print that the server answers again."""
        if self._has_joined:
            say("The server is back.")


def _raise_keyboard_interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Leave as on Ctrl-C; needed also where a shell starts us in the background, which disables
    Ctrl-C.
    """
    raise KeyboardInterrupt
