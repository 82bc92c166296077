"""Limits on a server's responses: at most 8 MiB each, and no redirects."""

from collections.abc import Callable

import httpx

MAX_RESPONSE_BYTES = 8 * 2**20  # bytes; a piece of a message has at most 5 MiB
_PIECE_PATHS = (
    "/pull-object",
    "/get-fab",
)  # Fleet API: requests whose answers are pieces of messages


CountBytes = Callable[[int], None]
"""Is told the bytes of a piece of a message that is about to come in, and may raise."""


def accept_any_size(_: int) -> None:
    """Accept a piece of any size."""


def limit_responses(client: httpx.Client, count_bytes: CountBytes = accept_any_size) -> None:
    """Forbid `client` to follow redirects, or to read an answer that is too large or has no length.

    Args:
        client: The client of the server.
        count_bytes: Called with the size in bytes of each piece of a message before it is read;
            reading ends with what it raises.
    """

    def check(response: httpx.Response) -> None:
        size = _size(response)
        if response.request.url.path.endswith(_PIECE_PATHS):
            count_bytes(size)

    # a redirect would send a store's requests, with updates, to any address
    client.follow_redirects = False
    client.headers["accept-encoding"] = "identity"
    client.event_hooks = {"response": [check]}


def _size(response: httpx.Response) -> int:
    """Return the length of an answer that has not been read yet. Raises
    httpx.RemoteProtocolError.
    """
    size = response.headers.get(
        "content-length", "0" if response.status_code == httpx.codes.NO_CONTENT else ""
    )
    if (
        not size.isdecimal()
        or int(size) > MAX_RESPONSE_BYTES
        or "content-encoding" in response.headers
    ):
        raise httpx.RemoteProtocolError(
            "an answer without a length, or too large a one", request=response.request
        )
    return int(size)
