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
        typer.Argument(help="Run directory, or a run's name; else the newest in runs/."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is known as JSON, for programs.")
    ] = False,
) -> None:
    """Say how a run is: its stores, rounds, results and failures.

    Exits with 4 if it failed or nobody works on it.
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
                "Run directory, also one that is yet to come, or its name; by default the newest"
                " below runs/."
            )
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of this machine to serve on.")
    ] = 8444,
) -> None:
    """Serve a run's page, /metrics and /health on this machine until stopped, while it goes on and
    after its end.
    """
    from fedshelf.server.monitor.run_finder import find_or_expect
    from fedshelf.server.monitor.watch import watch

    watch(find_or_expect(run), port)


def runs(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, for programs.")
    ] = False,
) -> None:
    """Show the servers that run on this machine, and the latest runs below runs/ that have
    ended.
    """
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
            "--now", help="Do not wait for the round under way; it is lost, all others are saved."
        ),
    ] = False,
) -> None:
    """End a server after its round, as Ctrl-C would, and wait until it has ended.

    Exits with 4 if none runs there.
    """
    from fedshelf.server.operations import stop

    stop.stop(run, at_once=at_once)


def check(
    credentials: Annotated[Path, typer.Option(help="DIR/server of `provision`.")],
    host: Annotated[str | None, typer.Option(help="Address to listen on, as for start.")] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to listen on, as for start.")
    ] = None,
    live_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port of the live page; 0: none.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model, whose size decides how much disk is needed.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Ordered product classes, comma-separated.")
    ] = None,
    test_data: Annotated[
        Path | None, typer.Option(help="Folder of test photos that the server keeps.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory, which need not be there yet.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; flags and --set win over it.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be given again."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a JSON list, for programs.")
    ] = False,
) -> None:
    """See whether a server can start here: credentials, clock, ports, disk, test photos.

    Exits with 4 if it cannot.
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
        typer.Option(min=1, help="Stores; 3, or as many as --photos has folders of stores."),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder of photos to deal, or with a folder for each store; else drawn ones are"
                " dealt."
            )
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of training.")] = 5,
    model: Annotated[
        str, typer.Option(help="A model of ours, or any torchvision classification model.")
    ] = "cnn",
    out: Annotated[
        Path | None, typer.Option(help="Run directory; by default a new one below runs/.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be given again."),
    ] = None,
) -> None:
    """Run a whole federation on this machine: server and stores, with keys of their own.

    Ctrl-C ends all of it.
    """
    flags: dict[str, Any] = {"run.rounds": rounds, "model.name": model}
    settings = merge_settings(None, flags, assignments or [])
    from fedshelf.server.operations.trial import Trial, run_trial

    raise typer.Exit(run_trial(Trial(stores, photos, out, settings, STARTED_AT)))


def deliver(
    run: Annotated[Path, typer.Argument(help="Run directory, or the name of a run.")],
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to serve stores for; 0: until all have it.")
    ] = 0.0,
    credentials: Annotated[
        Path | None,
        typer.Option(help="DIR/server of `provision`: gives it to this chain's stores."),
    ] = None,
    host: Host = None,
    port: Port = None,
    insecure: Insecure = False,
) -> None:
    """Give the model of a run to the stores that lack it. A server that trains does it after its
    round; if none does, this command serves stores until all have it.
    """
    from fedshelf.server.monitor.run_finder import find_run
    from fedshelf.server.operations import deliver

    directory = find_run(run)
    if not deliver.ask_running_server(directory):
        address, chain = resolve_store_access(credentials, host, port, insecure=insecure)
        raise typer.Exit(deliver.deliver(directory, address, chain, wait, STARTED_AT))
