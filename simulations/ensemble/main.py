"""Command-line options of `flower-simulation ensemble`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.simulations.run import options


def ensemble(
    models: Annotated[
        list[Path],
        typer.Argument(
            metavar="MODEL...", help="Run directories, or model.safetensors files; two or more."
        ),
    ],
    dataset: options.Dataset = None,
    partition: Annotated[
        str | None,
        typer.Option(
            help="folder: each sub-folder of the data set is a store; all are judged together."
        ),
    ] = None,
    device: options.Device = None,
    out: options.Out = None,
    assignments: options.Assignments = None,
) -> None:
    """Let finished models decide together: mean, weighted, vote and stacking, against each model by
    itself.
    """
    flags: dict[str, Any] = {
        "data.dataset": dataset,
        "data.partition": partition,
        "run.device": device,
        "run.out": str(out) if out else None,
    }
    settings = merge_settings(None, flags, assignments or [])
    from rich.console import Console

    from fedshelf.simulations.ensemble.command import ensemble as judge

    judge(models, settings, Console())
