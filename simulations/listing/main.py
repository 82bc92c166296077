"""Command-line options of `flower-simulation runs` and `flower-simulation diff`."""

from pathlib import Path
from typing import Annotated

import typer


def runs(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder of run directories.")
    ] = Path("runs"),
    sort: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            help=(
                "name, status, rounds, validation, test, seconds or written, or a setting in which"
                " the runs differ."
            ),
        ),
    ] = "written",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list with all settings, for programs.")
    ] = False,
) -> None:
    """List runs: what they reached, and the settings in which they differ."""
    from fedshelf.simulations.listing.command import list_runs

    list_runs(folder, sort, as_json=as_json)


def diff(
    first: Annotated[Path, typer.Argument(metavar="A", help="Run directory.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="Run directory.")],
) -> None:
    """Show the settings and results in which two runs differ."""
    from fedshelf.simulations.listing.command import print_difference

    print_difference(first, second)
