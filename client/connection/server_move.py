"""Reader of the address list that the server sends with its answers."""

import httpx
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.common.protocol.address_list import ADDRESSES_HEADER


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
