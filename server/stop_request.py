"""Requests to end a run, or to pause it."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fedshelf.server.results.run_status import RunObserver


class StopRequest:
    """A request to end the run: by SIGINT or SIGTERM, or by `request`."""

    def __init__(self, observer: RunObserver) -> None:
        self._is_requested = False
        self._observer = observer

    def __call__(self) -> bool:
        """Return whether the run has been asked to end."""
        return self._is_requested

    def request(self) -> None:
        """Ask the run to end after this round."""
        self._is_requested = True

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle signals: the first asks for an end after this round, the second ends at once.

        Only a program's main thread gets signals; in another one, nothing is done.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {
            signal_number: signal.signal(signal_number, self._handle_signal)
            for signal_number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for signal_number, handler in previous.items():
                signal.signal(signal_number, handler)

    def _handle_signal(self, signal_number: int, frame: FrameType | None) -> None:
        if self._is_requested:
            raise KeyboardInterrupt
        self.request()
        self._observer.note(
            "Stopping after this round; once more to stop at once (saved up to the last round)."
        )


class PauseRequest(Exception):  # noqa: N818
    """An observer's wish that the run pauses after the round that it was told.

    The round is saved, and the run can be resumed.
    """
