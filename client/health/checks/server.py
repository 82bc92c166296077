"""Checks of the connection to the server: it can be reached, it is the right one, and the clocks
agree.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

from fedshelf.client.health.evidence.finding import Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.common.wording import format_duration

_EXPIRES_SOON_DAYS = 14  # days: enough to ask the operator and to get a new kit
_MAX_CLOCK_SKEW_SECONDS = (
    30.0  # seconds: clocks that are set from the internet always agree within this
)


def answers(evidence: Evidence) -> Iterator[Finding]:
    """Find a server that cannot be reached, or something else at its address."""
    probe = evidence.probe
    if probe is None:
        return
    if probe.trouble == "unreachable":
        yield Finding(
            "server",
            "problem",
            f"The server {probe.server} cannot be reached: {probe.why}.",
            "Check the address and this machine's network; a firewall must allow outgoing"
            " connections to that port. If nothing is wrong here, the server may not be"
            " running: ask its operator.",
        )
    elif probe.trouble == "proxy":
        yield Finding(
            "server",
            "problem",
            f"The server {probe.server} cannot be reached: {probe.why}.",
            "Correct the proxy or its setting. For a server that needs none, add the server's"
            " host to NO_PROXY.",
        )
    elif probe.trouble == "protocol":
        yield Finding(
            "server",
            "problem",
            f"Something answers at {probe.server}, but it is not what was expected: {probe.why}.",
            "Check the address. Use --kit for a server with certificates, and --server alone"
            " for a server without.",
        )
    elif probe.status == 503:
        yield Finding(
            "server",
            "warning",
            f"The server {probe.server} is there, but is just starting or stopping.",
            "Nothing has to be done; a store waits for it.",
        )
    elif not probe.trouble and probe.status != 200:
        yield Finding(
            "server",
            "problem",
            f"Something answers at {probe.server}, but it is not a Fedshelf server (HTTP status"
            f" {probe.status}).",
            "Check the address and the port.",
        )


def certificate(evidence: Evidence) -> Iterator[Finding]:
    """Find a certificate that is not trusted, or that expires soon."""
    probe = evidence.probe
    if probe is None:
        return
    if probe.trouble == "certificate":
        yield Finding(
            "server",
            "problem",
            f"The certificate of {probe.server} cannot be trusted: {probe.why}.",
            "Do not join. Check this machine's clock, then ask the server's operator for a new"
            " kit.",
        )
    elif probe.trouble == "name":
        yield Finding(
            "server",
            "problem",
            f"The certificate of {probe.server} is not for the address that was called:"
            f" {probe.why}.",
            "Check the address. If it leads to the chain's server all the same, as a tunnel does,"
            " call it with --server HOST:PORT beside --kit.",
        )
    elif probe.ends is not None and (days := days_left(probe.ends)) < _EXPIRES_SOON_DAYS:
        yield Finding(
            "server",
            "warning",
            f"The server's certificate ends in {days} days, on {probe.ends:%d %B %Y}.",
            "Ask the server's operator to renew it.",
        )


def clock(evidence: Evidence) -> Iterator[Finding]:
    """Find clocks that disagree."""
    probe = evidence.probe
    if probe is None or probe.skew is None or abs(probe.skew) <= _MAX_CLOCK_SKEW_SECONDS:
        return
    direction = "behind" if probe.skew > 0 else "ahead of"
    yield Finding(
        "server",
        "warning",
        f"This machine's clock is {format_duration(abs(probe.skew))} {direction} the server's.",
        "Switch on time synchronisation (NTP). Until then the store joins by the server's clock.",
    )


def days_left(ends: datetime) -> int:
    """Return the whole days until `ends`."""
    return (ends - datetime.now(UTC)).days
