"""The commands for who looks after servers, or wants to see one; --help must be quick, so nothing
heavy is imported.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from fedshelf.common.command_line import merge_settings
from fedshelf.common.errors import RunError
from fedshelf.server.operations.store_access import Host, Insecure, Port, resolve_store_access

STARTED_AT = time.time()


def status(
    run: Annotated[
        Path | None,
        typer.Argument(
            help="Run directory, or the name of a run; by default the newest below runs/."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is known as JSON, for programs.")
    ] = False,
) -> None:
    """Show the state of a run: its stores, rounds, results and failures.

    Exit code 4 if it failed, or if no process works on it.
    """
    from rich.console import Console

    from fedshelf.server.monitor import terminal
    from fedshelf.server.monitor.reader import RunReader
    from fedshelf.server.monitor.run_finder import find_run
    from fedshelf.server.results.run_status import FAILED_STATES

    state = RunReader(find_run(run)).look()
    if as_json:
        print(terminal.as_json(state))
    else:
        terminal.show(state, Console())
    raise typer.Exit(RunError.exit_code if state.status in FAILED_STATES else 0)


def watch(
    run: Annotated[
        Path | None,
        typer.Argument(
            help=(
                "Run directory, which may not exist yet, or the name of a run; by default the"
                " newest below runs/."
            )
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of this machine to serve on.")
    ] = 8444,
) -> None:
    """Serve a run's page, /metrics and /health on this machine, until this command is stopped.

    It serves them while the run goes on, and after its end.
    """
    from fedshelf.server.monitor.run_finder import find_or_expect
    from fedshelf.server.monitor.watch import watch

    watch(find_or_expect(run), port)


def runs(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, for programs.")
    ] = False,
) -> None:
    """Show the servers that run on this machine, and the latest ended runs below runs/."""
    from fedshelf.server.operations import listing_output, running_servers

    servers = running_servers.rows()
    if as_json:
        print(listing_output.to_json(servers))
    else:
        running_servers.show(servers)


def stop(
    run: Annotated[Path, typer.Argument(help="Run directory, or the name of a run.")],
    at_once: Annotated[
        bool,
        typer.Option(
            "--now",
            help=(
                "Do not wait for the end of the present round: it is lost, all earlier rounds"
                " are saved."
            ),
        ),
    ] = False,
) -> None:
    """End a server after its round, as Ctrl-C would, and wait until it has ended.

    Exit code 4 if no server runs there.
    """
    from fedshelf.server.operations import stop

    stop.stop(run, at_once=at_once)


def check(
    credentials: Annotated[Path, typer.Option(help="The folder DIR/server that `provision` made.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on, as for start.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on, as for start.")
    ] = None,
    live_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the live page; 0: none.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The network; its size decides how much disk space is needed."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Ordered product classes, comma-separated.")
    ] = None,
    test_data: Annotated[
        Path | None, typer.Option(help="Folder of test photos that the server keeps.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory, which may not exist yet.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; flags and --set override it.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be given several times."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, for programs.")
    ] = False,
) -> None:
    """Check whether a server can start here: credentials, clock, ports, disk, test photos.

    Exit code 4 if it cannot.
    """
    flags: dict[str, Any] = {
        "model.name": model,
        "data.classes": classes,
        "evaluation.test_data": str(test_data.resolve()) if test_data else None,
        "run.out": str(out) if out else None,
    }
    settings = merge_settings(config, flags, assignments or [])
    from fedshelf.server.check.command import check_server

    raise typer.Exit(check_server(credentials, (host, port), live_port, settings, as_json=as_json))


def try_out(
    stores: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of stores; by default 3, or the number of store folders in --photos.",
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder of photos to split over the stores, or with one folder per store; by"
                " default, pictures are generated."
            )
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of training.")] = 5,
    model: Annotated[
        str | None,
        typer.Option(
            help=(
                "One of Fedshelf's models, or any torchvision classification model; by default cnn,"
                " and of stores with photos of scenes that of the recipe for them."
            )
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory; by default a new one below runs/.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be given several times."),
    ] = None,
) -> None:
    """Run a whole federation on this machine: server and stores, with keys of their own.

    Ctrl-C ends all of it.
    """
    flags: dict[str, Any] = {"run.rounds": rounds} | ({"model.name": model} if model else {})
    settings = merge_settings(None, flags, assignments or [])
    from fedshelf.server.operations.trial import Trial, run_trial

    raise typer.Exit(run_trial(Trial(stores, photos, out, settings, STARTED_AT)))


def deliver(
    run: Annotated[Path, typer.Argument(help="Run directory, or the name of a run.")],
    wait: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds for which stores are served; 0: until all have the model."
        ),
    ] = 0.0,
    credentials: Annotated[
        Path | None,
        typer.Option(
            help="The folder DIR/server that `provision` made: this chain's stores get the model."
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    insecure: Insecure = False,
) -> None:
    """Give the model of a run to the stores that do not have it yet.

    If a server works on the run, it does so after its present round. Else this command serves the
    stores until all have the model.
    """
    from fedshelf.server.monitor.run_finder import find_run
    from fedshelf.server.operations import deliver

    directory = find_run(run)
    if not deliver.ask_running_server(directory):
        address, chain = resolve_store_access(credentials, host, port, insecure=insecure)
        raise typer.Exit(deliver.deliver(directory, address, chain, wait, STARTED_AT))
