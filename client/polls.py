"""Ask for messages as the server wants it: again and again, or once, and it answers when there is one."""

import time

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from common.door_words import HELD_HEADER


class Polls:
    """Looks at requests for messages as one of the interceptors of Flower's HTTP client.

    is_held: the server keeps these requests until there is a message, as its last answer says
    """

    def __init__(self) -> None:
        self.is_held, self._began = False, float("-inf")

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Send the request, and note how it was answered."""
        if not context.rpc_method.endswith("/PullMessages"):
            return call_next(context)
        self._began = time.monotonic()
        response = call_next(context)
        self.is_held = HELD_HEADER in response.headers
        return response

    def are_signs_of_life(self, seconds: float) -> bool:
        """Return whether the server keeps a request that was sent within so many seconds: it needs no other sign."""
        return self.is_held and time.monotonic() - self._began < seconds
