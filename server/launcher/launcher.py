"""The launcher of one deployed training: it starts Flower, reports, and judges the outcome in the
run directory.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fedshelf.common.classes import display_names
from fedshelf.common.classes.display_names import ProductNames
from fedshelf.common.config import STORES_OWN, RunConfig, resolve
from fedshelf.common.errors import RunError
from fedshelf.common.model_files import WEIGHTS_FILE
from fedshelf.server.addresses import Address, check_free
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.last_run import at_work
from fedshelf.server.ipc.events import EventReader
from fedshelf.server.ipc.run_mailbox import RunMailbox, RunOutcome
from fedshelf.server.launcher.early_check import check_early
from fedshelf.server.launcher.flower_server import STARTUP, FlowerServer, join_command
from fedshelf.server.launcher.output import RunOutput
from fedshelf.server.launcher.page_port import page_port
from fedshelf.server.patience import ROUND
from fedshelf.server.results.run_directory import EMPTY, RunDirectory, free_name

APP_STARTUP = 90.0  # seconds for the submitted app to begin its work
MAX_APP_DEATHS_PER_ROUND = 4  # deaths of the app within one round before the run is given up
SUPERVISION_POLL_SECONDS = 0.2  # between two checks of the app and the processes
STOPPING = (
    f"Stopping after this round, or in {ROUND:g} s without it; once more to stop at once (saved up"
    " to the last round)."
)
STOPPED_EXIT_CODE = 130  # exit code of a run that a person stopped


@dataclass(frozen=True)
class LaunchRequest:
    """The request of the command line.

    settings: flat settings, merged in the order of their precedence
    address:  where to listen for stores
    chain:    whose stores may join; None is plain HTTP on this machine
    began:    Unix time (s) at which the process started
    as_json:  whether to print JSON lines instead of a table
    live_port: port for the live page; None: see `server.launcher.page_port`; 0: no page
    names:    product names of the classes; None: those of the resumed run, else the folders' names
    """

    settings: dict[str, Any]
    address: Address
    chain: Chain | None
    resume: bool
    began: float
    as_json: bool
    live_port: int | None
    names: ProductNames | None = None


def conduct(request: LaunchRequest) -> int:
    """Train with real stores; return the exit code: 0 only if the model was trained to the end.

    Raises FedshelfError if the run cannot start or go on, KeyboardInterrupt if a person insists on
    its end.
    """
    path, config = _place(request)
    if request.names and config.data.classes:
        display_names.check_classes(request.names, config.data.classes)
    if (told := _finished(path, config)) is not None:
        print(told)
        if request.names:
            _rename(path, request.names)
        return 0
    # else a killed launcher's leftovers may occupy it, and are removed
    if not RunDirectory.is_run(path):
        check_free(request.address)
    check_early(config)
    with at_work(request.chain.directory, path) if request.chain else nullcontext():
        return _serve(request, path, config)


def _serve(request: LaunchRequest, path: Path, config: RunConfig) -> int:
    """Train in `path`, which this process has locked; return the exit code.

    Raises what `conduct` raises.
    """
    desk = RunMailbox(path)
    with closing(RunDirectory.open(path, config, request.settings)):
        display_names.choose_for_run(path, request.names)
    with (
        desk.open(request.began),
        FlowerServer(desk.directory, request.address, request.chain) as flower,
        RunOutput(
            config.run.rounds, desk.directory / "launcher.jsonl", as_json=request.as_json
        ) as show,
        stop_on_signals(desk, show, STOPPING),
    ):
        desk.tell_classes(config.data.classes, config)  # a store can ask before the app has started
        if (done := RunDirectory.rounds_done(path)) or request.resume:
            show.say(
                f"Going on with the run in {path}, of which {done} of {config.run.rounds} rounds"
                " are done."
            )
        show.say("The server is up. Each store joins with:")
        show.say(join_command(request.address, request.chain))
        if request.live_port != 0:
            page = page_port(path, request.live_port)
            flower.show(page.port)
            show.say(page.told())
        outcome = RunSupervisor(path, desk, flower, show).see_through()
        if outcome.summary is None:
            raise RunFailedError(outcome.error, outcome.exit_code)
    show.closing(outcome.summary, path)
    return _exit_code(path, outcome.summary)


class RunFailedError(RunError):
    """The error that ended the app, with the exit code of its kind."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class RunSupervisor:
    """Supervisor of a submitted run: restarts processes that die, relays messages, waits for the
    outcome.

    task: the app's task if it is not to train, see `FlowerServer.submit`
    """

    def __init__(
        self,
        path: Path,
        desk: RunMailbox,
        flower: FlowerServer,
        show: RunOutput,
        task: Mapping[str, str | float] = EMPTY,
    ) -> None:
        self._path = path
        self._desk = desk
        self._flower = flower
        self._show = show
        self._task = task
        self._relay = EventReader(desk.events, show)
        self._trouble = ""

    def see_through(self) -> RunOutcome:
        """Return the outcome of the run.

        Raises RunError if the app dies, or does not start, again and again.
        """
        deaths = 0
        done = RunDirectory.rounds_done(self._path)
        while True:
            if self._begins():
                self._until(self._has_ended)
            self._relay.play()
            if (outcome := self._desk.outcome()) is not None:
                return outcome
            before = done
            done = RunDirectory.rounds_done(self._path)
            deaths = 1 if done > before else deaths + 1
            if deaths == MAX_APP_DEATHS_PER_ROUND:
                log = self._flower.children.log("superexec")
                raise RunError(
                    f"The server's app died {MAX_APP_DEATHS_PER_ROUND} times in one round; "
                    f"{self._trouble or f'see {log}.'}"
                )
            self._show.say(
                "The server's app died; it starts again from the last round that was saved."
            )

    def _begins(self) -> bool:
        """Submit the run; return whether its app began to work: processes that take part in that
        may die, too.
        """
        try:
            self._flower.submit(self._path, **self._task)
        except RunError as error:
            self._trouble = str(error)
            self._until(self._flower.is_healthy, STARTUP)
            return False
        self._trouble = ""
        return self._until(self._has_begun, APP_STARTUP)

    def _until(self, condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Keep the processes running until `condition` holds, or for `seconds`; return whether it
        holds.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._relay.play()
            for name in self._flower.revive():
                self._show.say(f"The server's {name} ended and was started again.")
            time.sleep(SUPERVISION_POLL_SECONDS)
        return True

    def _has_begun(self) -> bool:
        return self._desk.is_app_at_work() or self._desk.outcome() is not None

    def _has_ended(self) -> bool:
        return not self._desk.is_app_at_work()


def _place(request: LaunchRequest) -> tuple[Path, RunConfig]:
    """Return the run's directory and configuration: a new run, or the one to resume."""
    settings = request.settings
    if settings.get("model.resume_from"):
        from fedshelf.server.training.resume_model import adopt  # loads torch

        settings = adopt(settings)
    settings = _absolute(settings)
    config = resolve({"data.dataset": STORES_OWN}, settings)
    name = config.run.name or f"stores-{config.model.name}-{config.strategy.name}"
    asked = Path(config.run.out or f"runs/{name}")
    if request.resume or (config.run.out and RunDirectory.is_run(asked)):
        return asked, RunDirectory.stored(asked, settings)
    path = Path(config.run.out) if config.run.out else free_name(Path("runs") / name)
    RunDirectory.check_new(path)
    return path, resolve({"data.dataset": STORES_OWN}, settings, {"run.out": str(path)})


def _absolute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with an absolute path of initial weights: the app works in another
    directory.
    """
    weights = settings.get("model.weights", "")
    found = (
        {"model.weights": str(Path(weights).resolve())}
        if str(weights).endswith(".safetensors")
        else {}
    )
    return {**settings, **found}


def _finished(path: Path, config: RunConfig) -> str | None:
    """Return a sentence about a run that is finished and is not asked for more; else None."""
    summary = path / "summary.json"
    if not (RunDirectory.is_run(path) and summary.exists() and (path / WEIGHTS_FILE).exists()):
        return None
    told = json.loads(summary.read_text(encoding="utf-8"))
    before = RunDirectory.stored(path, {})
    wants_more = (
        config.run.rounds > before.run.rounds
        or config.evaluation.patience != before.evaluation.patience
    )
    wants_more |= config.run.deliver != before.run.deliver
    if told["status"] != "finished" or wants_more:
        return None
    ended = (
        f"The run in {path} is finished after {told['rounds']} rounds: {path / 'model.safetensors'}"
        " is its model."
    )
    if "delivery" not in told:
        return (
            f"{ended} `flower-server deliver {path}` gives it to the stores, to which nobody has"
            " given it yet."
        )
    missing = told["delivery"].get("missing")
    hint = (
        f" `flower-server deliver {path}` gives it to those that lack it: {', '.join(missing)}."
        if missing
        else ""
    )
    return ended + hint


def _rename(path: Path, names: ProductNames) -> None:
    """Rename the classes of a finished run as asked, and say so if that changes them."""
    from fedshelf.server.report.rename_classes import rename  # loads torch

    if rename(path, names):
        print(f"Its classes have the names asked for, in {path / 'report.html'} and model.json.")


@contextmanager
def stop_on_signals(desk: RunMailbox, show: RunOutput, told: str) -> Iterator[None]:
    """Ask the app to end on the first signal, and print `told`; end everything at once on the
    second.
    """

    def signalled(_number: int, _frame: FrameType | None) -> None:
        if desk.is_stop_asked():
            raise KeyboardInterrupt
        desk.ask_to_stop()
        show.say(told)

    previous = {
        number: signal.signal(number, signalled) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _exit_code(path: Path, summary: Mapping[str, Any]) -> int:
    """Return the exit code by the run's files, not by Flower's status: 0 for a model of a run that
    went to its end.
    """
    if summary["status"] == "stopped":
        return STOPPED_EXIT_CODE
    trained = summary["rounds"] > 0 and summary["stores"] > 0 and (path / WEIGHTS_FILE).is_file()
    return 0 if summary["status"] == "finished" and trained else RunError.exit_code
