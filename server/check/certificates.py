"""Checks of the chain's credentials: private, complete, valid now, and for the kits' hosts."""

import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import check_private
from fedshelf.server.check.finding import CheckFinding, CheckSubject
from fedshelf.server.credentials.authority import AUTHORITY_WARNING_TIME, load_key
from fedshelf.server.credentials.stores import EnrolmentState


def credentials(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the credentials directory and the kits beside it.

    Loading the chain has checked the permissions of the credentials.
    """
    chain = subject.chain
    states = [entry.state for entry in chain.stores.stores().values()]
    state_counts = (
        ", ".join(f"{states.count(state)} {state}" for state in EnrolmentState if state in states)
        or "none"
    )
    if not os.access(chain.directory, os.W_OK):
        message = (
            f"This user may not write to {chain.directory}: no store could be enrolled, and no"
            " certificate renewed."
        )
        yield CheckFinding("fail", "credentials", message)
    else:
        yield CheckFinding(
            "ok",
            "credentials",
            f"{chain.directory} is complete, and only this user can read it. Stores:"
            f" {state_counts}.",
        )
    for kit in sorted((chain.directory.parent / "kits").glob("*.kit")):
        try:
            check_private(kit)
        except ConfigError as error:
            yield CheckFinding("warn", "kits", str(error))


def certificates(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the certificates of authority and server: signature, key, dates."""
    directory = subject.chain.directory
    authority, server = (
        x509.load_pem_x509_certificate((directory / name).read_bytes())
        for name in ("ca.crt", "server.crt")
    )
    yield _check_authority(authority)
    try:
        server.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        yield CheckFinding(
            "fail",
            "certificate",
            "server.crt is not of this chain's authority; restore the credentials.",
        )
        return
    if (
        server.public_key()
        != load_key((directory / "server.key").read_text(encoding="utf-8")).public_key()
    ):
        yield CheckFinding(
            "fail",
            "certificate",
            "server.key is not the key of server.crt; restore the credentials.",
        )
        return
    yield _check_server(server)


def names(subject: CheckSubject) -> Iterator[CheckFinding]:
    """Check the hosts that stores call: each is in the certificate, and resolves to an address."""
    server = x509.load_pem_x509_certificate((subject.chain.directory / "server.crt").read_bytes())
    alternative_names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    certified_hosts = {
        *alternative_names.get_values_for_type(x509.DNSName),
        *map(str, alternative_names.get_values_for_type(x509.IPAddress)),
    }
    for host in dict.fromkeys(endpoint.host for endpoint in subject.chain.endpoints):
        if host not in certified_hosts:
            yield CheckFinding(
                "fail",
                "name",
                f"Kits name {host}, for which the certificate is not valid; restore the"
                " credentials.",
            )
            continue
        try:
            addresses = sorted(
                {str(info[4][0]) for info in socket.getaddrinfo(host, subject.address.port)}
            )
        except OSError as error:
            yield CheckFinding(
                "warn",
                "name",
                f"{host}, which kits name, cannot be resolved on this machine: {error}.",
            )
            continue
        yield CheckFinding(
            "ok",
            "name",
            f"Kits name {host} ({', '.join(addresses)}), and the certificate is valid for it.",
        )


def _check_authority(authority: x509.Certificate) -> CheckFinding:
    now = datetime.now(UTC)
    end = authority.not_valid_after_utc
    if now > end:
        message = (
            f"The authority ended on {end:%Y-%m-%d}: make a new chain, and give every store its new"
            " kit."
        )
        return CheckFinding("fail", "authority", message)
    if now < authority.not_valid_before_utc:
        message = (
            f"The authority is valid from {authority.not_valid_before_utc:%Y-%m-%d} on: this"
            " machine's clock is behind."
        )
        return CheckFinding("fail", "authority", message)
    if end - now < AUTHORITY_WARNING_TIME:
        message = (
            f"The authority ends on {end:%Y-%m-%d}: make a new chain before that, and give every"
            " store its new kit."
        )
        return CheckFinding("warn", "authority", message)
    return CheckFinding("ok", "authority", f"Valid until {end:%Y-%m-%d}.")


def _check_server(server: x509.Certificate) -> CheckFinding:
    now = datetime.now(UTC)
    end = server.not_valid_after_utc
    if now < server.not_valid_before_utc:
        message = (
            f"It is valid from {server.not_valid_before_utc:%Y-%m-%d} on: this machine's clock is"
            " behind."
        )
        return CheckFinding("fail", "certificate", message)
    if now > end:
        return CheckFinding(
            "warn",
            "certificate",
            f"It ended on {end:%Y-%m-%d}; the server renews it when it starts.",
        )
    return CheckFinding(
        "ok", "certificate", f"Valid until {end:%Y-%m-%d}, and renewed by the server itself."
    )
