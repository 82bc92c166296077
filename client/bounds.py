"""How much a server may answer at once, and where else it may send a store: not far, and nowhere."""

import httpx

LARGEST_ANSWER = 8 * 2**20  # bytes; a piece of a message has at most 5 MiB


def bound(client: httpx.Client) -> None:
    """Let `client` follow no redirection, and read no answer that is large, or does not say how large it is."""
    client.follow_redirects = False  # it would carry a store's requests, updates and all, to any address
    client.headers["accept-encoding"] = "identity"
    client.event_hooks = {"response": [_check]}


def _check(response: httpx.Response) -> None:
    """Called before the body is read. Raises httpx.RemoteProtocolError."""
    size = response.headers.get("content-length", "0" if response.status_code == httpx.codes.NO_CONTENT else "")
    if not size.isdecimal() or int(size) > LARGEST_ANSWER or "content-encoding" in response.headers:
        raise httpx.RemoteProtocolError("an answer without a length, or too large a one", request=response.request)
