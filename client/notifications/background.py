"""Sending in a thread of its own, so that a slow receiver delays nothing."""

import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

Message = Mapping[str, Any]
"""JSON values."""

MAX_WAITING = 1000
"""Messages that wait at most; further ones are not sent."""


class NotSentError(Exception):
    """A message that its receiver did not take; its text is the reason."""


class BackgroundSender:
    """A queue of messages and the thread that sends them in order.

    As a context it waits at the end until all messages are sent.

    Args:
        send: sends one message, may take long, and raises NotSentError
        told: gets a sentence for each message that is not sent; called in any thread
        closing_seconds: longest wait at the end
        max_waiting: messages
    """

    def __init__(
        self,
        send: Callable[[Message], None],
        told: Callable[[str], object],
        closing_seconds: float,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._send = send
        self._told = told
        self._waiting: queue.Queue[Message | None] = queue.Queue(max_waiting + 1)
        self._closing_seconds = closing_seconds
        self._max_waiting = max_waiting
        self._thread = threading.Thread(target=self._work, name="notifications", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Send a message later; return at once."""
        if self._waiting.qsize() >= self._max_waiting:
            self._told(f"An alarm was not sent: {self._max_waiting} wait already.")
        else:
            self._waiting.put(message)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._waiting.put(None)
        self._thread.join(self._closing_seconds)
        if self._thread.is_alive():
            self._told(
                f"Some alarms were not sent within {self._closing_seconds:g} s after the end."
            )

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            try:
                self._send(message)
            except NotSentError as reason:
                self._told(f"An alarm was not sent: {reason}")
