"""How much a server may answer at once, and where else it may send a store: not far, and nowhere."""

from collections.abc import Callable

import httpx

LARGEST_ANSWER = 8 * 2**20  # bytes; a piece of a message has at most 5 MiB
_CONTENT = ("/pull-object", "/get-fab")  # Fleet API: the requests whose answers are pieces of messages


Take = Callable[[int], None]
"""Is told the bytes of a piece of a message that is about to come in, and may raise."""


def uncounted(_: int) -> None:
    """Let all pieces in."""


def bound(client: httpx.Client, take: Take = uncounted) -> None:
    """Let `client` follow no redirection, and read no answer that is large, or does not say how large it is.

    take: is called with the size of each piece of a message before it is read, which ends with what it raises
    """

    def check(response: httpx.Response) -> None:
        size = _size(response)
        if response.request.url.path.endswith(_CONTENT):
            take(size)

    client.follow_redirects = False  # it would carry a store's requests, updates and all, to any address
    client.headers["accept-encoding"] = "identity"
    client.event_hooks = {"response": [check]}


def _size(response: httpx.Response) -> int:
    """Return the bytes of an answer that has not been read yet. Raises httpx.RemoteProtocolError."""
    size = response.headers.get("content-length", "0" if response.status_code == httpx.codes.NO_CONTENT else "")
    if not size.isdecimal() or int(size) > LARGEST_ANSWER or "content-encoding" in response.headers:
        raise httpx.RemoteProtocolError("an answer without a length, or too large a one", request=response.request)
    return int(size)
