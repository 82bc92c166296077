"""POST of JSON to an address, tried again while its server is away."""

import time
from collections.abc import Callable
from urllib.parse import urlsplit

from fedshelf.client.notifications.background import Message, NotSentError
from fedshelf.common.errors import ConfigError

TIMEOUT_SECONDS = 10.0
"""Time for each step of a request: to connect, to send, to get the answer."""

FIRST_PAUSE_SECONDS = 1.0
TRIES = 6
"""With pauses of 1, 2, 4, 8 and 16 seconds between them."""

_TOO_MANY_REQUESTS = 429
_FIRST_SERVER_ERROR = 500


def check_webhook(url: str) -> None:
    """Check an address that a person gave. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port  # raises ValueError for one that is none
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ConfigError(
            "--webhook got an address that cannot be used; expected http://HOST/PATH or"
            " https://HOST/PATH."
        )


def webhook(
    url: str, first_pause: float = FIRST_PAUSE_SECONDS, tries: int = TRIES
) -> Callable[[Message], None]:
    """Return a function that posts a message to an address.

    It tries again after no answer, 429 and 5xx, with pauses that double. Redirects are not
    followed: the message goes to the given address alone.

    Args:
        url: see `check_webhook`
        first_pause: seconds
        tries: in all
    """
    import httpx

    client = httpx.Client(timeout=TIMEOUT_SECONDS, follow_redirects=False)
    host = urlsplit(url).hostname

    def post(message: Message) -> None:
        pause = first_pause
        for attempt in range(1, tries + 1):
            try:
                # the answer's content is not read, however long it is
                with client.stream("POST", url, json=message) as answer:
                    if answer.is_success:
                        return
                    reason = f"answered {answer.status_code}"
                    status = answer.status_code
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                reason = f"did not answer ({type(error).__name__})"
                status = _FIRST_SERVER_ERROR
            if status != _TOO_MANY_REQUESTS and status < _FIRST_SERVER_ERROR:
                raise NotSentError(f"the webhook at {host} {reason}.")
            if attempt < tries:
                time.sleep(pause)
                pause *= 2
        raise NotSentError(f"the webhook at {host} {reason}, {tries} times.")

    return post
