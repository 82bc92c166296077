"""Command-line options of `flower-simulation sweep`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.common.errors import ConfigError
from fedshelf.common.setting_flags import setting_flags
from fedshelf.simulations.run import options


@setting_flags(
    dataset="data.dataset",
    stores="data.stores",
    partition="data.partition",
    recipe="run.recipe",
    rounds="run.rounds",
    model="model.name",
    strategy="strategy.name",
    device="run.device",
)
def sweep(
    given: dict[str, Any],
    seeds: Annotated[
        str,
        typer.Option(metavar="N,N...", help="Seeds; each point is run once with each. Default: 0."),
    ] = "",
    random: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Run N points drawn from the grid, not all."),
    ] = None,
    halving: Annotated[
        bool,
        typer.Option(
            "--halving",
            help="All points train for few rounds, the best third for three times as many, ...",
        ),
    ] = False,
    jobs: Annotated[
        int,
        typer.Option(min=0, help="Runs at a time; 0: one for each processor core, or GPU."),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory of the sweep; by default a new one below runs/."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the sweep in --out where it stopped.")
    ] = False,
    config: options.Settings = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE[,VALUE...]",
            help="Any setting; several values are the points of the grid.",
        ),
    ] = None,
) -> None:
    """Run each point of a grid of settings with each seed, and choose on validation images."""
    settings = merge_settings(config, given, assignments or [])
    seed_numbers = _parse_seeds(seeds)
    from rich.console import Console

    from fedshelf.simulations.sweep.command import sweep as carry_out
    from fedshelf.simulations.sweep.points import draw, grid, split_values
    from fedshelf.simulations.sweep.request import SweepRequest, check_same

    if resume:
        if out is None:
            raise ConfigError("--resume needs --out, the directory of the sweep.")
        request = SweepRequest.read(out)
        check_same(request, settings, seed_numbers)
    else:
        fixed, swept = split_values({key: _as_text(value) for key, value in settings.items()})
        points = grid(swept)
        seed_numbers = seed_numbers or [0]
        if random is not None:
            points = draw(points, random, seed_numbers[0])
        request = SweepRequest(fixed, swept, points, seed_numbers, halving)
    carry_out(request, out, jobs, Console(), resume=resume)


def _parse_seeds(text: str) -> list[int]:
    """Return the seeds of `0,1,2`. Raises ConfigError."""
    words = [word.strip() for word in text.split(",")] if text else []
    if any(not word.isdecimal() for word in words) or len(set(words)) < len(words):
        raise ConfigError(
            f"--seeds got {text!r}; expected different whole numbers, for example 0,1,2."
        )
    return [int(word) for word in words]


def _as_text(value: Any) -> str:
    """Return a setting from a flag or a TOML file as text."""
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
