"""Ask for messages as the server wants it: again and again, or once, and it answers when there is one."""

import time

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedshelf.common.protocol.enrolment import HELD_HEADER


class PollInterval:
    """Looks at requests for messages as one of the interceptors of Flower's HTTP client."""

    def __init__(self) -> None:
        self._held_for, self._is_under_way, self._began, self._ended = 0.0, False, 0.0, float("-inf")

    @property
    def is_held(self) -> bool:
        """Return whether the server keeps these requests until there is a message, as its last answer says."""
        return self._held_for > 0

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Send the request, and note how it was answered."""
        if not context.rpc_method.endswith("/PullMessages"):
            return call_next(context)
        self._is_under_way, self._began = True, time.monotonic()
        try:
            response = call_next(context)
        finally:
            self._is_under_way, self._ended = False, time.monotonic()
        self._held_for = _seconds(response.headers.get(HELD_HEADER, "0"))
        return response

    def are_signs_of_life(self, seconds: float) -> bool:
        """Return whether the server keeps a request just now, or has answered it within so many seconds: it needs no
        other sign. One that it should have answered before is on a broken link.
        """
        now = time.monotonic()
        if self._is_under_way:
            return self.is_held and now - self._began < self._held_for + seconds
        return self.is_held and now - self._ended < seconds


def _seconds(told: str) -> float:
    try:
        return float(told)
    except ValueError:
        return 0.0
