"""The address and chain for stores, from flags that all commands with a server share."""

from pathlib import Path

import typer

from fedshelf.common.errors import ConfigError
from fedshelf.server.addresses import EVERYWHERE, EVERYWHERE_IPV6, LOOPBACK, Address
from fedshelf.server.credentials.chain import Chain


def entrance(
    credentials: Path | None, host: str | None, port: int | None, *, insecure: bool
) -> tuple[Address, Chain | None]:
    """Return the address for stores, and their chain.

    Raises ConfigError unless one way of joining is chosen.
    """
    if insecure == (credentials is not None):
        raise ConfigError(
            "Choose how stores join: --credentials DIR/server (from `flower-server provision`, with"
            " TLS and keys), or --insecure to try it out on one machine."
        )
    if credentials:
        chain = Chain.load(credentials.resolve())
        everywhere = EVERYWHERE_IPV6 if any(":" in each for each in chain.hosts) else EVERYWHERE
        return Address(host or everywhere, port or chain.port), chain
    if (host or LOOPBACK) not in ("localhost", LOOPBACK):
        raise ConfigError(
            f"--insecure got the host {host!r}; plain HTTP is served on 127.0.0.1 only."
        )
    typer.secho(
        "WARNING: --insecure. No encryption and no keys: every program on this machine can join as"
        " any store and read all updates. For trying out only; real stores need `flower-server"
        " provision`.",
        err=True,
        bold=True,
    )
    return Address(host or LOOPBACK, port or 8443), None
