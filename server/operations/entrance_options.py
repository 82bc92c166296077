"""Command-line options for the address that stores call, alike for each command that serves
them.
"""

from typing import Annotated

import typer

Host = Annotated[
    str | None, typer.Option(help="Address to listen on; by default all of this machine's.")
]
Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, help="Port to listen on; by default that of the kits."),
]
Insecure = Annotated[
    bool,
    typer.Option(
        "--insecure", help="Instead of --credentials: plain HTTP, for stores on this machine only."
    ),
]
