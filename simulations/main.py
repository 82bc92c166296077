"""The command line `flower-simulation`: many stores on one machine."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.command_line import command_line, merge_settings, run_and_exit
from fedshelf.common.setting_flags import setting_flags
from fedshelf.server.operations.export import export
from fedshelf.simulations.compare.main import compare
from fedshelf.simulations.ensemble.main import ensemble
from fedshelf.simulations.reveal.main import reveal
from fedshelf.simulations.run import options

STARTED_CLOCK_SECONDS = time.perf_counter()
STOPPED_EXIT_CODE = 130  # exit code of a run that a person stopped, as after any SIGINT

app = command_line(
    "Train across simulated stores on this machine, to find what works before any store joins."
)


@app.command()
@setting_flags(
    dataset="data.dataset",
    stores="data.stores",
    partition="data.partition",
    recipe="run.recipe",
    rounds="run.rounds",
    fraction="cohort.fraction",
    epochs="train.epochs",
    batch_size="train.batch_size",
    lr="train.lr",
    model="model.name",
    weights="model.weights",
    resume_from="model.resume_from",
    classes="data.classes",
    merge_spellings="data.merge_spellings",
    strategy="strategy.name",
    seed="run.seed",
    engine="run.engine",
    ray_address="run.ray_address",
    gpus_per_worker="run.gpus_per_worker",
    device="run.device",
    out="run.out",
)
def run(
    given: dict[str, Any],
    class_names: options.ClassNames = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out exactly where it stopped.")
    ] = False,
    changed_data: Annotated[
        bool,
        typer.Option(
            "--changed-data",
            help="Let --resume continue with other images than the run began with.",
        ),
    ] = False,
    config: options.Settings = None,
    assignments: options.Assignments = None,
) -> None:
    """Simulate a federated training and write a run directory with model and report."""
    settings = merge_settings(config, given, assignments or [])
    from rich.console import Console

    from fedshelf.common.classes import display_names
    from fedshelf.simulations.run.simulate import SimulationRequest, simulate

    names = display_names.read(class_names) if class_names else None
    summary = simulate(
        SimulationRequest(settings, resume, STARTED_CLOCK_SECONDS, changed_data, names), Console()
    )
    raise typer.Exit(0 if summary["status"] == "finished" else STOPPED_EXIT_CODE)


@app.command()
@setting_flags(
    dataset="data.dataset",
    stores="data.stores",
    partition="data.partition",
    merge_spellings="data.merge_spellings",
)
def split(
    out: Annotated[Path, typer.Option(help="New folder; it must not exist yet, or be empty.")],
    given: dict[str, Any],
    seed: Annotated[int, typer.Option(help="Random seed of the split.")] = 0,
    test: Annotated[
        bool, typer.Option("--test", help="Also write a folder of test images for the server.")
    ] = False,
    labelled: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Share of a store's images that keep their class; the others go to unlabelled/.",
        ),
    ] = 1.0,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting of the section data."),
    ] = None,
) -> None:
    """Write a data set out as one folder of image files per store, ready for real stores."""
    settings = merge_settings(None, given, assignments or [])
    from fedshelf.common.config import resolve
    from fedshelf.simulations.federation.split import split as write_stores

    written = write_stores(resolve(settings).data, out, seed=seed, test=test, labelled=labelled)
    if written.left_out:
        typer.echo(written.left_out)
    for folder, counts in written.counts.items():
        typer.echo(f"{out / folder}: {sum(counts.values())} images in {len(counts)} classes")


app.command()(compare)
app.command()(ensemble)
app.command()(reveal)
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
