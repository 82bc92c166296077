"""The command line `flower-simulation`: many stores on one machine."""

import time
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from fedshelf.common.command_line import command_line, merge_settings, run_and_exit
from fedshelf.common.errors import ConfigError
from fedshelf.common.setting_flags import setting_flags
from fedshelf.server.operations import export as export_options
from fedshelf.simulations.compare.main import compare
from fedshelf.simulations.ensemble.main import ensemble
from fedshelf.simulations.listing.main import diff, runs
from fedshelf.simulations.reveal.main import reveal
from fedshelf.simulations.run import options
from fedshelf.simulations.scenes.main import scenes
from fedshelf.simulations.sweep.main import sweep

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
    log: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(["table", "json"]),
            help="Form of the output: table is for people, json is JSON lines.",
        ),
    ] = "table",
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print nothing but the run's directory at the end."),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line for each store of a round, too.")
    ] = False,
    config: options.Settings = None,
    assignments: options.Assignments = None,
) -> None:
    """Simulate a federated training and write a run directory with model and report."""
    if quiet + verbose + (log == "json") > 1:
        raise ConfigError("Give one of --quiet, --verbose and --log json.")
    settings = merge_settings(config, given, assignments or [])
    from rich.console import Console

    from fedshelf.common.classes import display_names
    from fedshelf.simulations.run.simulate import SimulationRequest, simulate

    names = display_names.read(class_names) if class_names else None
    request = SimulationRequest(
        settings,
        resume,
        STARTED_CLOCK_SECONDS,
        changed_data,
        names,
        as_json=log == "json",
        per_store=verbose,
        quiet=quiet,
    )
    summary = simulate(request, Console())
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
    from fedshelf.simulations.run.own_code import allow_named

    allow_named(settings)
    written = write_stores(resolve(settings).data, out, seed=seed, test=test, labelled=labelled)
    if written.left_out:
        typer.echo(written.left_out)
    for folder, counts in written.counts.items():
        typer.echo(f"{out / folder}: {sum(counts.values())} images in {len(counts)} classes")


app.command()(compare)
app.command()(sweep)
app.command()(ensemble)
app.command()(reveal)
app.command()(scenes)
app.command()(runs)
app.command()(diff)


@app.command()
def export(
    run: export_options.Run, which: export_options.Which, out: export_options.Out = None
) -> None:
    """Write the model of any round that has a checkpoint, not only of the delivered one."""
    from fedshelf.server.monitor.run_finder import find_run
    from fedshelf.simulations.run.own_code import allow_named

    directory = find_run(run)
    allow_named({}, directory)
    export_options.export(directory, which, out)


@app.command()
def settings(
    word: Annotated[
        str,
        typer.Argument(help="A section, or a word of a setting's name or meaning; else: all."),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON object with a line for each setting.")
    ] = False,
) -> None:
    """List settings: defaults, and what they mean."""
    from fedshelf.simulations.run.list_settings import find_settings, print_settings

    print_settings(find_settings(word), as_json=as_json)


def main() -> None:
    """Run `flower-simulation`."""
    run_and_exit(app)
