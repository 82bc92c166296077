"""Options that commands of `flower-simulation` share.

Only light modules are imported here: --help must be quick.
"""

from pathlib import Path
from typing import Annotated

import typer

ClassNames = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help=(
            "CSV file of folder,name: the names of the classes in reports; the classes stay"
            " the same."
        ),
    ),
]
Settings = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file of settings; flags and --set override it."),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any setting, for example train.momentum=0.5; may be given several times.",
    ),
]
