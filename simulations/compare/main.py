"""Command-line options of `flower-simulation compare`."""

from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.simulations.run import options

STOPPED_EXIT_CODE = 130  # exit code after a person stopped it, as after any SIGINT


def compare(
    dataset: options.Dataset = None,
    stores: options.Stores = None,
    partition: options.Partition = None,
    merge_spellings: options.MergeSpellings = None,
    class_names: options.ClassNames = None,
    rounds: options.Rounds = None,
    fraction: options.CohortShare = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    model: options.Model = None,
    strategy: options.Strategy = None,
    seed: options.Seed = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help=(
                "Several seeds, such as 0,1,2: each deals the data set, trains and judges; --resume"
                " adds some."
            ),
        ),
    ] = None,
    device: options.Device = None,
    tune_epochs: Annotated[
        int | None,
        typer.Option(
            min=0,
            help=(
                "Epochs for which each store fine-tunes the federated model; 0: none (default: 2)."
            ),
        ),
    ] = None,
    tune_lr: Annotated[
        float | None,
        typer.Option(min=0.0, help="Learning rate of that (default: a fifth of --lr)."),
    ] = None,
    leave_one_out: Annotated[
        bool,
        typer.Option(
            "--leave-one-out",
            help="Train once more without each store, to see what it contributes.",
        ),
    ] = False,
    out: options.Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the comparison in --out.")
    ] = False,
    config: options.Settings = None,
    assignments: options.Assignments = None,
) -> None:
    """Show what each store would gain by joining: alone, federated, fine-tuned and pooled, on the
    same budget.
    """
    flags: dict[str, Any] = {
        "data.dataset": dataset,
        "data.stores": stores,
        "data.partition": partition,
        "data.merge_spellings": merge_spellings,
        "run.rounds": rounds,
        "cohort.fraction": fraction,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "model.name": model,
        "strategy.name": strategy,
        "run.seed": seed,
        "run.device": device,
        "run.out": str(out) if out else None,
    }
    settings = merge_settings(config, flags, assignments or [])
    several = _numbers(seeds, seed)
    from rich.console import Console

    from fedshelf.common.classes import display_names
    from fedshelf.simulations.compare.command import compare as run
    from fedshelf.simulations.compare.place import ComparisonRequest

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
