"""Command-line options of `flower-simulation ensemble`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.common.setting_flags import setting_flags
from fedshelf.simulations.run import options


@setting_flags(
    dataset="data.dataset", partition="data.partition", device="run.device", out="run.out"
)
def ensemble(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...", help="Run directories, or model.safetensors files; two or more."
        ),
    ],
    given: dict[str, Any],
    assignments: options.Assignments = None,
) -> None:
    """Compare ensembles of finished models with each model alone.

    The ensembles are the mean, a weighted mean, a vote and stacking.
    """
    settings = merge_settings(None, given, assignments or [])
    from rich.console import Console

    from fedshelf.simulations.ensemble.command import ensemble as judge

    judge(models, settings, Console())
