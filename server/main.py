"""`flower-server`: starts a training for real stores and sees it through."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from common.cli import command_line, merge_settings
from common.cli import run as run_command_line
from common.errors import ConfigError, RunError

BEGAN = time.time()

app = command_line("The server of a training across stores: it combines their updates into one model.")

LOOPBACK = {"127.0.0.1", "localhost"}


@app.command()
def start(
    stores: Annotated[int | None, typer.Option(help="Quorum: a round counts only with this many stores.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training.")] = None,
    model: Annotated[str | None, typer.Option(help="A model of ours, or any torchvision classification model.")] = None,
    strategy: Annotated[str | None, typer.Option(help="Federated algorithm.")] = None,
    classes: Annotated[
        str | None, typer.Option(help="Ordered product classes, comma-separated; else the stores'.")
    ] = None,
    test_data: Annotated[Path | None, typer.Option(help="Folder of test photos that the server keeps.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over a store's photos per round.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Photos per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate of the first round.")] = None,
    wait: Annotated[float | None, typer.Option(help="Seconds to wait for the quorum to join.")] = None,
    seed: Annotated[int | None, typer.Option(help="The one number all randomness derives from.")] = None,
    device: Annotated[str | None, typer.Option(help="Where the server tests: auto, cpu, mps, cuda or cuda:N.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port that stores join.")] = 8443,
    insecure: Annotated[bool, typer.Option("--insecure", help="Plain HTTP, for stores on this machine only.")] = False,
    out: Annotated[Path | None, typer.Option(help="Run directory; by default a new one below runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out where it stopped.")] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings; flags and --set win over it.")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be given again.")
    ] = None,
) -> None:
    """Start a training, wait for the stores, show the rounds, and leave a model in the run directory."""
    _check_insecure(host, insecure=insecure)
    flags: dict[str, Any] = {
        "cohort.min_stores": stores, "run.rounds": rounds, "model.name": model, "strategy.name": strategy,
        "data.classes": classes, "evaluation.test_data": str(test_data.resolve()) if test_data else None,
        "train.epochs": epochs, "train.batch_size": batch_size, "train.lr": lr, "cohort.wait": wait,
        "run.seed": seed, "run.device": device, "run.out": str(out) if out else None,
    }  # fmt: skip
    settings = merge_settings(config, flags, assignments or [])
    from server.conduct import Request, conduct

    raise typer.Exit(conduct(Request(settings, host, port, resume, BEGAN)))


@app.command()
def status(
    run: Annotated[Path | None, typer.Argument(help="Run directory; by default the newest below runs/.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all that is known as JSON, for programs.")] = False,
) -> None:
    """Say how a run is: its stores, rounds, results and failures. Exits with 4 if it failed or nobody works on it."""
    from rich.console import Console

    from server.live import terminal
    from server.live.reader import RunReader
    from server.live.runs import find
    from server.live.state import WRONG

    state = RunReader(find(run)).look()
    if as_json:
        print(terminal.as_json(state))
    else:
        terminal.show(state, Console())
    raise typer.Exit(RunError.exit_code if state.status in WRONG else 0)


def _check_insecure(host: str, *, insecure: bool) -> None:
    """Raises ConfigError unless the server is to be reached from this machine alone, and that is said."""
    if not insecure:
        raise ConfigError(
            "Stores join over TLS with kits that the server hands out, which this version does not have yet; "
            "to try it out on one machine, add --insecure."
        )
    if host not in LOOPBACK:
        raise ConfigError(f"--insecure got the host {host!r}; plain HTTP is served on 127.0.0.1 only.")


def main() -> None:
    """Entry point of `flower-server`."""
    run_command_line(app)
