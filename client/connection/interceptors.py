"""Interceptors of Flower's HTTP client, which see each request and its answer.

`PollInterval` learns how the server wants to be polled (repeatedly, or by one request that it holds
until there is a message); `AddressReader` keeps the list of addresses that comes with an answer.
"""

import time

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.common.protocol.address_list import ADDRESSES_HEADER
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


class AddressReader:
    """An interceptor of Flower's HTTP client that reads address lists from answers."""

    def __init__(self, known: KnownAddresses) -> None:
        self._known = known
        self._last_header = ""

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Send the request, and keep the list of addresses that comes with the answer."""
        response = call_next(context)
        address_list = response.headers.get(ADDRESSES_HEADER, "")
        if address_list and address_list != self._last_header:
            self._last_header = address_list
            self._known.keep_signed_list(address_list)
        return response


def _parse_seconds(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return 0.0
