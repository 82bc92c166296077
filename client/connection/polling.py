"""Polling as the server wants it: repeated requests, or one that the server holds until there is a
message.
"""

import time

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedshelf.common.protocol.enrolment import HELD_HEADER


class PollInterval:
    """An interceptor of Flower's HTTP client that watches the requests for messages."""

    def __init__(self) -> None:
        self._hold_seconds = 0.0
        self._is_under_way = False
        self._began = 0.0
        self._ended = float("-inf")

    @property
    def is_held(self) -> bool:
        """True if the server holds these requests until there is a message, as its last answer
        said.
        """
        return self._hold_seconds > 0

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Send the request, and note the time and kind of its answer."""
        if not context.rpc_method.endswith("/PullMessages"):
            return call_next(context)
        self._is_under_way = True
        self._began = time.monotonic()
        try:
            response = call_next(context)
        finally:
            self._is_under_way = False
            self._ended = time.monotonic()
        self._hold_seconds = _parse_seconds(response.headers.get(HELD_HEADER, "0"))
        return response

    def proves_liveness(self, seconds: float) -> bool:
        """Return whether the server holds a request now, or has answered one within `seconds`.

        The server then needs no other sign of life. A request that it should have answered before
        counts as lost on a broken link.
        """
        now = time.monotonic()
        if self._is_under_way:
            return self.is_held and now - self._began < self._hold_seconds + seconds
        return self.is_held and now - self._ended < seconds


def _parse_seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
