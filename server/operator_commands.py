"""The commands for who looks after servers: `runs`, `stop`. Nothing heavy is imported here: --help must be quick."""

from pathlib import Path
from typing import Annotated

import typer


def runs(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, for programs.")] = False,
) -> None:
    """Show the servers that run on this machine, and the latest runs below runs/ that have ended."""
    from server import running

    found = running.rows()
    if as_json:
        print(running.as_json(found))
    else:
        running.show(found)


def stop(
    run: Annotated[Path, typer.Argument(help="Run directory, or the name of a run.")],
    at_once: Annotated[
        bool, typer.Option("--now", help="Do not wait for the round under way; it is lost, all others are saved.")
    ] = False,
) -> None:
    """End a server after its round, as Ctrl-C would, and wait until it has ended. Exits with 4 if none runs there."""
    from server import stopping

    stopping.stop(run, at_once=at_once)
