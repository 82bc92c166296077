"""Command-line options of `flower-simulation reveal`."""

from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.common.setting_flags import setting_flags
from fedshelf.simulations.run import options


@setting_flags(
    dataset="data.dataset",
    stores="data.stores",
    partition="data.partition",
    recipe="run.recipe",
    epochs="train.epochs",
    batch_size="train.batch_size",
    lr="train.lr",
    model="model.name",
    weights="model.weights",
    resume_from="model.resume_from",
    strategy="strategy.name",
    seed="run.seed",
    device="run.device",
    out="run.out",
)
def reveal(
    given: dict[str, Any],
    images: Annotated[
        int,
        typer.Option(
            min=0, help="Training photos of a store; by default the median store's, at most 200."
        ),
    ] = 0,
    config: options.Settings = None,
    assignments: options.Assignments = None,
) -> None:
    """Measure what an update reveals with your settings: classes, which photos, and how they look.

    Attacks are carried out on updates that this machine makes; no store takes part.
    """
    settings = merge_settings(config, given, assignments or [])
    from rich.console import Console

    from fedshelf.simulations.reveal.command import reveal as attack

    attack(settings, images, Console())
