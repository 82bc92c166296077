"""`flower-server deliver`: gives the model of a run to the stores that lack it, as they come."""

from contextlib import nullcontext
from pathlib import Path

from fedshelf.common.errors import RunError, StoresError
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.server.addresses import Address, check_free
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.last_run import hold_server_lock
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.launcher.flower_server import FlowerServer, join_command
from fedshelf.server.launcher.launcher import (
    STOPPED_EXIT_CODE,
    RunFailedError,
    RunSupervisor,
    stop_on_signals,
)
from fedshelf.server.launcher.output import RunOutput
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.settings.own_code import allow_of_run


def ask_running_server(run: Path) -> bool:
    """Ask the server that trains in a run directory to deliver its model to the stores.

    Returns:
        True if there is such a server.

    Raises:
        RunError: there is no run, or its model is being delivered already.
    """
    if not RunDirectory.is_run(run):
        raise RunError(f"There is no run in {run}: it has no config.toml.")
    mailbox = RunMailbox(run)
    if not mailbox.is_launcher_at_work():
        return False
    if mailbox.is_delivering():
        raise RunError(f"Another flower-server delivers the model of {run} already.")
    mailbox.ask_to_deliver()
    print(
        f"The server that trains in {run} gives the model to the stores after the current round."
        " Its log names the stores that have it."
    )
    return True


def deliver(
    run: Path, address: Address, chain: Chain | None, wait: float, started_at: float
) -> int:
    """Serve the stores of a run that is not being trained, until all have its model.

    Args:
        run:        run directory
        address:    address for stores
        chain:      chain of the stores; None: plain HTTP
        wait:       seconds to serve; 0: until told to end
        started_at: Unix time (s) at which the process started

    Returns:
        The exit code.

    Raises:
        RunError: the run has no model.
        StoresError: stores lack it after `wait` seconds.
    """
    if not (run / WEIGHTS_FILE).is_file():
        raise RunError(
            f"There is no model in {run} yet: the run goes on with `flower-server start --resume"
            f" --out {run}`, and `flower-server export {run} --round last` writes the model of a"
            " round."
        )
    check_free(address)
    allow_of_run(run)
    rounds = RunDirectory.stored(run, {}).run.rounds
    mailbox = RunMailbox(run)
    with (
        hold_server_lock(chain.directory, run) if chain else nullcontext(),
        mailbox.open(started_at, only_delivers=True),
        FlowerServer(mailbox.directory, address, chain) as flower,
        RunOutput(rounds, mailbox.directory / "launcher.jsonl", as_json=False) as output,
        stop_on_signals(
            mailbox,
            output,
            "Ending; the stores that have the model are recorded. Press Ctrl-C again to end now.",
        ),
    ):
        output.say(
            f"The model of {run} goes to the stores that lack it, as they come. Each joins with:"
        )
        output.say(join_command(address, chain))
        outcome = RunSupervisor(
            run, mailbox, flower, output, {"task": "deliver", "wait": wait}
        ).supervise()
        if outcome.summary is None:
            raise RunFailedError(outcome.error, outcome.exit_code)
    if not (missing := outcome.summary["missing"]):
        return 0
    if mailbox.is_stop_asked():
        return STOPPED_EXIT_CODE
    raise StoresError(
        f"After {wait:g} s not all stores have the model; not yet delivered: {', '.join(missing)}."
    )
