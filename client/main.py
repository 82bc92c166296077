"""`flower-client`: what a person runs on a store's machine."""

from pathlib import Path
from typing import Annotated

import typer

from client.kit import Credentials
from common.cli import command_line
from common.cli import run as run_command_line
from common.errors import ConfigError
from common.naming import check_store_name

app = command_line("A store: trains on its own photos when the server asks; the photos stay on this machine.")

LOOPBACK = {"127.0.0.1", "localhost", "[::1]"}


@app.command()
def join(
    server: Annotated[str, typer.Option(help="Address of the server, HOST:PORT.")],
    data: Annotated[Path, typer.Option(help="Folder with one sub-folder of photos per product class.")],
    name: Annotated[str, typer.Option(help="What this store is called.")],
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain HTTP, to a server on this machine only.")] = False,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for the server to appear.")] = 600.0,
) -> None:
    """Join a server and train when asked, until Ctrl-C."""
    check_store_name(name)
    _check_server(server, insecure=insecure)
    from client.survey import survey

    print(f"Store {name}: {survey(data)}", flush=True)
    from client.join import join_as_store  # loads torch and flwr

    join_as_store(Credentials(server), data, name, device, wait)


def _check_server(server: str, *, insecure: bool) -> None:
    """Raises ConfigError unless `server` is an address that may be used this way."""
    host, colon, port = server.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"--server got {server!r}; expected HOST:PORT, for example 127.0.0.1:8443.")
    if not insecure:
        raise ConfigError(
            "A server is joined over TLS with a kit from its operator, which this version does not have yet; "
            "to try it out on one machine, add --insecure."
        )
    if host not in LOOPBACK:
        raise ConfigError(
            f"--insecure got the host {host!r}; plain HTTP is for a server on this machine (127.0.0.1) only."
        )


def main() -> None:
    """Entry point of `flower-client`."""
    run_command_line(app)
