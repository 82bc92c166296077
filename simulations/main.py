"""The command line `flower-simulation`: many stores on one machine."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.command_line import command_line, merge_settings, run_and_exit
from fedshelf.server.operations.export import export
from fedshelf.simulations.compare.main import compare
from fedshelf.simulations.ensemble.main import ensemble
from fedshelf.simulations.run import options

STARTED_AT = time.perf_counter()
STOPPED_EXIT_CODE = 130  # exit code of a run that a person stopped, as after any SIGINT

app = command_line(
    "Train across simulated stores on this machine, to find what works before any store joins."
)


@app.command()
def run(
    dataset: options.Dataset = None,
    stores: options.Stores = None,
    partition: options.Partition = None,
    rounds: options.Rounds = None,
    fraction: options.CohortShare = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    lr: options.LearningRate = None,
    model: Annotated[
        str | None,
        typer.Option(
            help=(
                "cnn, niid-cnn, mcmahan-cnn, moderate-cnn, fashion-cnn, pfl-cnn, or a torchvision"
                " model."
            )
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Model to start from (a .safetensors file), or torchvision for its own.",
        ),
    ] = None,
    resume_from: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A finished run or model, RUN@best, RUN@last or RUN@N, to teach it more.",
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Ordered product classes, comma-separated; else the data set's."),
    ] = None,
    merge_spellings: options.MergeSpellings = None,
    class_names: options.ClassNames = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help=(
                "fedavg, fedprox, scaffold, fednova, feddyn, fedbn, fedper, fedavgm, fedadam,"
                " fedyogi, fedadagrad,"
                " median, trimmed-mean, krum or multi-krum."
            )
        ),
    ] = None,
    seed: options.Seed = None,
    engine: Annotated[
        str | None,
        typer.Option(
            help=(
                "What executes the stores: sequential, batched (many stores at once on a GPU) or"
                " ray."
            )
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Ray cluster to use with --engine ray; auto: the one running here.",
        ),
    ] = None,
    gpus_per_worker: Annotated[
        float | None, typer.Option(help="Share of a GPU for each worker of the engine ray.")
    ] = None,
    device: options.Device = None,
    out: options.Out = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out exactly where it stopped.")
    ] = False,
    changed_data: Annotated[
        bool,
        typer.Option(
            "--changed-data", help="Let --resume go on with other images than the run began with."
        ),
    ] = False,
    config: options.Settings = None,
    assignments: options.Assignments = None,
) -> None:
    """Simulate a federated training and write a run directory with model and report."""
    flags: dict[str, Any] = {
        "data.dataset": dataset,
        "data.stores": stores,
        "data.partition": partition,
        "run.rounds": rounds,
        "cohort.fraction": fraction,
        "train.epochs": epochs,
        "train.batch_size": batch_size,
        "train.lr": lr,
        "model.name": model,
        "model.weights": weights,
        "model.resume_from": str(resume_from) if resume_from else None,
        "data.classes": classes,
        "data.merge_spellings": merge_spellings,
        "strategy.name": strategy,
        "run.seed": seed,
        "run.engine": engine,
        "run.ray_address": ray_address,
        "run.gpus_per_worker": gpus_per_worker,
        "run.device": device,
        "run.out": str(out) if out else None,
    }
    settings = merge_settings(config, flags, assignments or [])
    from rich.console import Console

    from fedshelf.common.classes import display_names
    from fedshelf.simulations.run.simulate import SimulationRequest, simulate

    names = display_names.read(class_names) if class_names else None
    summary = simulate(
        SimulationRequest(settings, resume, STARTED_AT, changed_data, names), Console()
    )
    raise typer.Exit(0 if summary["status"] == "finished" else STOPPED_EXIT_CODE)


@app.command()
def split(
    out: Annotated[Path, typer.Option(help="Folder to make; must not exist or be empty.")],
    dataset: options.Dataset = None,
    stores: Annotated[int | None, typer.Option(help="Stores to split the data set over.")] = None,
    partition: Annotated[str | None, typer.Option(help="As for run, but for folder.")] = None,
    merge_spellings: options.MergeSpellings = None,
    seed: Annotated[int, typer.Option(help="The number that the split derives from.")] = 0,
    test: Annotated[
        bool, typer.Option("--test", help="Also write a folder of test images for the server.")
    ] = False,
    labelled: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of a store's images whose class is known; others: unlabelled/.",
        ),
    ] = 1.0,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the section data."),
    ] = None,
) -> None:
    """Write a data set out as one folder of image files per store, ready for real stores."""
    flags: dict[str, Any] = {
        "data.dataset": dataset,
        "data.stores": stores,
        "data.partition": partition,
        "data.merge_spellings": merge_spellings,
    }
    settings = merge_settings(None, flags, assignments or [])
    from fedshelf.common.config import resolve
    from fedshelf.simulations.federation.split import split as write_stores

    written = write_stores(resolve(settings).data, out, seed=seed, test=test, labelled=labelled)
    if written.left_out:
        typer.echo(written.left_out)
    for folder, counts in written.counts.items():
        typer.echo(f"{out / folder}: {sum(counts.values())} images in {len(counts)} classes")


app.command()(compare)
app.command()(ensemble)
app.command()(export)


@app.command()
def settings() -> None:
    """List every setting: its default and its meaning."""
    from rich.console import Console
    from rich.table import Table

    from fedshelf.common.config import RunConfig, known_keys

    table = Table("setting", "default", "meaning", box=None)
    for key, default in known_keys().items():
        section, _, name = key.partition(".")
        fields = type(getattr(RunConfig(), section)).model_fields
        table.add_row(key, "" if default in ("", ()) else str(default), fields[name].description)
    Console().print(table, markup=False)


def main() -> None:
    """Run `flower-simulation`."""
    run_and_exit(app)
