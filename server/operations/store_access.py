"""The options by which stores reach a server, alike for all commands that serve stores.

Nothing heavy is imported here, so that --help is quick.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.common.errors import ConfigError
from fedshelf.server.addresses import EVERYWHERE, EVERYWHERE_IPV6, LOOPBACK, Address

if TYPE_CHECKING:
    from fedshelf.server.credentials.chain import Chain

DEFAULT_INSECURE_PORT = 8443
Host = Annotated[
    str | None,
    typer.Option(help="Address to listen on; by default all addresses of this machine."),
]
Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Port to listen on; by default the port in the kits."),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure",
        help="Use plain HTTP instead of --credentials; for stores on this machine only.",
    ),
]


def resolve_store_access(
    credentials: Path | None, host: str | None, port: int | None, *, insecure: bool
) -> "tuple[Address, Chain | None]":
    """Return the address for stores, and their chain.

    Args:
        credentials: the chain's credentials directory; None with `insecure`
        host:        address to listen on; None: all addresses of this machine, or loopback only
            with `insecure`
        port:        port to listen on; None: that of the chain's kits
        insecure:    True for plain HTTP on this machine

    Raises:
        ConfigError: not exactly one way of joining is chosen, or plain HTTP is to leave this
            machine.
    """
    if insecure == (credentials is not None):
        raise ConfigError(
            "Choose how stores join: --credentials DIR/server (from `flower-server provision`, with"
            " TLS and keys), or --insecure to try it out on one machine."
        )
    if credentials:
        from fedshelf.server.credentials.chain import Chain  # late: it loads cryptography

        chain = Chain.load(credentials.resolve())
        default_host = (
            EVERYWHERE_IPV6 if any(":" in host_name for host_name in chain.hosts) else EVERYWHERE
        )
        return Address(host or default_host, port or chain.port), chain
    if (host or LOOPBACK) not in ("localhost", LOOPBACK):
        raise ConfigError(
            f"--insecure got the host {host!r}; plain HTTP is served on 127.0.0.1 only."
        )
    typer.secho(
        "WARNING: --insecure means no encryption and no keys: every program on this machine"
        " can join as any store and read all updates. Use it only to try Fedshelf out; real"
        " stores need `flower-server provision`.",
        err=True,
        bold=True,
    )
    return Address(host or LOOPBACK, port or DEFAULT_INSECURE_PORT), None
