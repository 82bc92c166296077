"""Command-line options of `flower-simulation compare`."""

from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.common.setting_flags import setting_flags
from fedshelf.simulations.run import options

STOPPED_EXIT_CODE = 130  # exit code after a person stopped it, as after any SIGINT


@setting_flags(
    dataset="data.dataset",
    stores="data.stores",
    partition="data.partition",
    merge_spellings="data.merge_spellings",
    recipe="run.recipe",
    rounds="run.rounds",
    fraction="cohort.fraction",
    epochs="train.epochs",
    batch_size="train.batch_size",
    lr="train.lr",
    model="model.name",
    strategy="strategy.name",
    seed="run.seed",
    device="run.device",
    out="run.out",
)
def compare(
    given: dict[str, Any],
    class_names: options.ClassNames = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help=(
                "Several seeds, such as 0,1,2: all models are trained and evaluated for each"
                " seed. --resume can add seeds."
            ),
        ),
    ] = None,
    tune_epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=(
                "Epochs for which each store fine-tunes the federated model; 0: none (default: 2,"
                " and 0 for a strategy in closed form)."
            ),
        ),
    ] = None,
    tune_lr: Annotated[
        float | None,
        typer.Option(min=0.0, help="Learning rate of the fine-tuning (default: a fifth of --lr)."),
    ] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="Train once more without each store, to see what it contributes.",
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the comparison in --out.")
    ] = False,
    config: options.Settings = None,
    assignments: options.Assignments = None,
) -> None:
    """Show what each store would gain by joining.

    Models are trained alone, federated, fine-tuned and pooled, all with the same amount of work.
    """
    settings = merge_settings(config, given, assignments or [])
    several = _numbers(seeds, given.get("run.seed"))
    from rich.console import Console

    from fedshelf.common.classes import display_names
    from fedshelf.simulations.compare.command import compare as run
    from fedshelf.simulations.compare.request import ComparisonRequest

    names = display_names.read(class_names) if class_names else None
    finished = run(
        ComparisonRequest(settings, resume, several, tune_epochs, tune_lr, leave_one_out, names),
        Console(),
    )
    raise typer.Exit(0 if finished else STOPPED_EXIT_CODE)


def _numbers(seeds: str | None, seed: int | None) -> tuple[int, ...]:
    """Parse "0,1,2" to (0, 1, 2); nothing to (). Raises ConfigError."""
    from fedshelf.common.errors import ConfigError

    if seeds is None:
        return ()
    if seed is not None:
        raise ConfigError(f"Got --seed {seed} and --seeds {seeds}; give one of them.")
    texts = [text.strip() for text in seeds.split(",")]
    numbers = [
        int(text) for text in texts if text.isascii() and text.isdigit() and int(text) < 2**63
    ]
    if len(numbers) < len(texts) or len(set(numbers)) < len(numbers):
        raise ConfigError(
            f"Option --seeds got {seeds!r}; allowed: different whole numbers from 0, with commas"
            " between them, for example 0,1,2."
        )
    return tuple(numbers)
