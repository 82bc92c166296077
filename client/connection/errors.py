"""Plain-language reasons why a server refuses a store or cannot be reached."""

import ssl
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from fedshelf.client.connection.proxies import ProxyFault
from fedshelf.client.connection.transport import causes
from fedshelf.common.errors import RefusedError
from fedshelf.common.protocol.enrolment import REASON_HEADER, RefusalReason


class UnknownStoreError(Exception):
    """The server does not know this node (any more), because it was started afresh."""


class RunOverError(Exception):
    """The run that a message belongs to has ended."""


# pass by themselves
NO_CONNECTION = "no connection"
STARTING = "it is starting"
NOT_FEDSHELF = "the program that answers there is not a Fedshelf server"
# answers of the gateway and the SuperLink while the SuperLink starts or is down
_SERVER_AWAY_STATUSES = {500, 502, 503, 504}

_SENTENCES = {
    RefusalReason.REVOKED: (
        "the chain has revoked this store. If that is a mistake, ask for a new kit."
    ),
    RefusalReason.UNKNOWN_KEY: (
        "it does not know this store's key, which another kit may have replaced. Ask for a new kit."
    ),
    RefusalReason.CODE: (
        "the kit's code is not valid: it was used on another machine, a newer kit replaced it, or"
        " the chain has deleted this store. Ask for a new kit."
    ),
    RefusalReason.IN_USE: (
        "another flower-client works with this store's key, on another machine or in a copy of"
        " this store's home. The other one came first and goes on; this one ends. Each machine"
        " is a store of its own: ask for a kit for this machine."
    ),
    RefusalReason.EXPIRED: "the kit's code has expired. Ask for a new kit.",
    RefusalReason.MALFORMED: (
        "it does not understand the enrolment by this version of Fedshelf. Install the same"
        " version on both sides."
    ),
}


def obstacle(error: httpx.TransportError | httpx.HTTPStatusError) -> str:
    """Return the temporary obstacle in words if trying again may help; else an empty text.

    Raises:
        RefusedError: The server says that it does not admit this store.
    """
    if isinstance(error, httpx.TransportError):
        return _no_connection(error)
    match reason := _reason(error.response):
        case RefusalReason.CLOCK:
            offset = format_clock_error(clock_error(error.response))
            return (
                f"this machine's clock is {offset}; switch on time synchronisation, or set it right"
            )
        case RefusalReason.MAYBE_IN_USE:
            return (
                "another flower-client with this store's key was at work seconds ago; if that"
                " was this flower-client before a restart, the server lets it in soon"
            )
        case RefusalReason.SLOW_DOWN:
            return (
                "too many wrong codes came from this address; the server takes new ones after"
                " a minute"
            )
        case None:
            return STARTING if error.response.status_code in _SERVER_AWAY_STATUSES else ""
        case _:
            raise RefusedError(
                f"The server does not let this store in: {_SENTENCES[reason]}"
            ) from error


def _no_connection(error: httpx.TransportError) -> str:
    if isinstance(error, ProxyFault):
        return str(error)
    for cause in causes(error):
        match cause:
            # X509_V_ERR_CERT_NOT_YET_VALID, _HAS_EXPIRED
            case ssl.SSLCertVerificationError(verify_code=9 | 10):
                return (
                    "its certificate is not valid at this time, so the clock of one of the two"
                    " machines is wrong"
                )
            # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_
            case ssl.SSLCertVerificationError(verify_code=62 | 64):
                return (
                    "its certificate is for other host names than the one that was called. If"
                    " the address still leads to the chain's server, join with --kit and"
                    " --server HOST:PORT"
                )
            case ssl.SSLCertVerificationError():
                return (
                    "another server answers there: its certificate is not from the chain that made"
                    " this kit"
                )
            # that: closed, as on too many connections
            case ssl.SSLError() if not isinstance(cause, ssl.SSLEOFError):
                return "the program that answers there does not use TLS"
    return NO_CONNECTION


def _reason(response: httpx.Response) -> RefusalReason | None:
    value = response.headers.get(REASON_HEADER, "")
    return RefusalReason(value) if value in list(RefusalReason) else None


def clock_error(response: httpx.Response) -> timedelta:
    """Return how far this clock is ahead of the server's (from its Date header); zero if there is
    none.
    """
    try:
        return datetime.now(UTC) - parsedate_to_datetime(response.headers.get("date", ""))
    except (TypeError, ValueError):
        return timedelta(0)


def format_clock_error(error: timedelta) -> str:
    """Return a clock's error in words."""
    seconds = error.total_seconds()
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the server's"


def obstacle_or_raise(error: httpx.TransportError | httpx.HTTPStatusError) -> str:
    """Return in words the temporary reason why the server does not answer.

    Raises:
        UnknownStoreError: The server does not know this node (any more).
        RunOverError: The run has ended.
        RefusedError: The server does not admit this store.
        httpx.HTTPError: `error` itself, if trying again is of no use.
    """
    if known := obstacle(error):
        return known
    match getattr(getattr(error, "response", None), "status_code", None):
        case 401:
            raise UnknownStoreError from error
        case 403:
            raise RunOverError from error
        case _:
            raise error
