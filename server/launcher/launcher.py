"""The launcher of one deployed training: starts Flower, reports, and judges the outcome.

launch -> _resolve_run -> check_early -> _train -> FlowerServer        (starts the processes)
                                                -> RunSupervisor       (keeps them running)
                                                -> _exit_code          (by the run's files)
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

from fedshelf.common import models
from fedshelf.common.classes import display_names
from fedshelf.common.classes.display_names import ProductNames
from fedshelf.common.config import STORES_OWN, RunConfig, StrategyConfig, flatten, resolve
from fedshelf.common.errors import RunError
from fedshelf.common.metrics import formulas
from fedshelf.common.models.spec import STORE_CHANNELS
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.privacy import dp_settings
from fedshelf.common.release.keys import read_private_key
from fedshelf.server import trackers
from fedshelf.server.addresses import Address, check_free
from fedshelf.server.answer_deadline import ROUND_STOP_SECONDS
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.last_run import hold_server_lock
from fedshelf.server.ipc.events import EventReader
from fedshelf.server.ipc.run_mailbox import RunMailbox, RunOutcome
from fedshelf.server.launcher.flower_server import (
    STARTUP_TIMEOUT_SECONDS,
    FlowerServer,
    join_command,
)
from fedshelf.server.launcher.output import RunOutput
from fedshelf.server.launcher.page_port import page_port
from fedshelf.server.results.run_directory import EMPTY, RunDirectory, free_name
from fedshelf.server.settings import recipes
from fedshelf.server.settings.own_code import allow_of_run, check_own_code

APP_STARTUP_TIMEOUT_SECONDS = 90.0  # for the submitted app to begin its work
MAX_APP_DEATHS_PER_ROUND = 4  # deaths of the app within one round before the run is given up
SUPERVISION_POLL_SECONDS = 0.2  # between two checks of the app and the processes
CLASSES_IN_CHECKS = 3  # of a network, as long as the stores' classes are not known
STOPPING_MESSAGE = (
    f"Stopping after this round, or in {ROUND_STOP_SECONDS:g} s without it; press Ctrl-C again"
    " to stop at once (all earlier rounds are saved)."
)
STOPPED_EXIT_CODE = 130  # exit code of a run that a person stopped


@dataclass(frozen=True)
class LaunchRequest:
    """The request of the command line.

    Attributes:
        settings:      flat settings, merged in the order of their precedence
        address:       where to listen for stores
        chain:         whose stores may join; None: plain HTTP on this machine
        resume:        True to go on with a run only, and never begin one
        started_at:    Unix time (s) at which the process started
        as_json:       True to print JSON lines instead of a table
        live_port:     port of the live page; None: see `server.launcher.page_port`; 0: no page
        product_names: names of the classes; None: those of the resumed run, else the folders' names
        release_key:   file of the private key that signs a release for the stores at the run's end;
                       None: they get the model without a release
    """

    settings: dict[str, Any]
    address: Address
    chain: Chain | None
    resume: bool
    started_at: float
    as_json: bool
    live_port: int | None
    product_names: ProductNames | None = None
    release_key: Path | None = None


def launch(request: LaunchRequest) -> int:
    """Train with real stores.

    Returns:
        The exit code: 0 only if the model was trained to the end.

    Raises:
        FedshelfError: the run cannot start or go on.
        KeyboardInterrupt: a person insists on its end.
    """
    if request.release_key is not None:
        read_private_key(request.release_key)  # rather refused now than after the training
    path, config = _resolve_run(request)
    if request.product_names and config.data.classes:
        display_names.check_classes(request.product_names, config.data.classes)
    if (finished_message := _finished_message(path, config)) is not None:
        print(finished_message)
        if request.product_names:
            _rename_classes(path, request.product_names)
        return 0
    # else a killed launcher's leftovers may occupy it, and are removed
    if not RunDirectory.is_run(path):
        check_free(request.address)
    check_early(config)
    with hold_server_lock(request.chain.directory, path) if request.chain else nullcontext():
        return _train(request, path, config)


def _train(request: LaunchRequest, path: Path, config: RunConfig) -> int:
    """Train in `path`, which this process has locked; return the exit code.

    Raises what `launch` raises.
    """
    mailbox = RunMailbox(path)
    with closing(RunDirectory.open(path, config, request.settings)):
        display_names.choose_for_run(path, request.product_names)
    with (
        mailbox.open(request.started_at),
        FlowerServer(mailbox.directory, request.address, request.chain) as flower,
        RunOutput(
            config.run.rounds, mailbox.directory / "launcher.jsonl", as_json=request.as_json
        ) as output,
        stop_on_signals(mailbox, output, STOPPING_MESSAGE),
    ):
        # a store can ask before the app has started
        mailbox.tell_classes(config.data.classes, config)
        if (rounds_done := RunDirectory.rounds_done(path)) or request.resume:
            output.say(
                f"Going on with the run in {path}: {rounds_done} of {config.run.rounds} rounds are"
                " done."
            )
        output.say("The server is up. Each store joins with:")
        output.say(join_command(request.address, request.chain))
        if request.live_port != 0:
            page = page_port(path, request.live_port)
            flower.serve_page(page.port)
            output.say(page.message())
        task = {"release_key": str(request.release_key.resolve())} if request.release_key else {}
        outcome = RunSupervisor(path, mailbox, flower, output, task).supervise()
        if outcome.summary is None:
            raise RunFailedError(outcome.error, outcome.exit_code)
    output.closing(outcome.summary, path)
    return _exit_code(path, outcome.summary)


class RunFailedError(RunError):
    """The error that ended the app, with the exit code of its kind."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class RunSupervisor:
    """Supervisor of a submitted run: restarts processes that die, and passes on the app's messages.

    Args:
        path:    run directory
        mailbox: files through which launcher and app talk
        flower:  the running processes
        output:  shows messages to a person or a program
        task:    further entries of the app's config, see `FlowerServer.submit`
    """

    def __init__(
        self,
        path: Path,
        mailbox: RunMailbox,
        flower: FlowerServer,
        output: RunOutput,
        task: Mapping[str, str | float] = EMPTY,
    ) -> None:
        self._path = path
        self._mailbox = mailbox
        self._flower = flower
        self._output = output
        self._task = task
        self._event_reader = EventReader(mailbox.events, output)
        self._submit_error = ""

    def supervise(self) -> RunOutcome:
        """Submit the run, and wait for its outcome.

        Raises:
            RunError: the app dies, or does not start, again and again.
        """
        deaths = 0
        rounds_done = RunDirectory.rounds_done(self._path)
        while True:
            if self._submit():
                self._wait_for(self._has_ended)
            self._event_reader.play()
            if (outcome := self._mailbox.outcome()) is not None:
                return outcome
            rounds_before = rounds_done
            rounds_done = RunDirectory.rounds_done(self._path)
            deaths = 1 if rounds_done > rounds_before else deaths + 1
            if deaths == MAX_APP_DEATHS_PER_ROUND:
                log_file = self._flower.children.log_file("superexec")
                raise RunError(
                    f"The server's app died {MAX_APP_DEATHS_PER_ROUND} times in one round; "
                    f"{self._submit_error or f'see {log_file}.'}"
                )
            self._output.say(
                "The server's app ended unexpectedly; it starts again from the last saved round."
            )

    def _submit(self) -> bool:
        """Submit the run; return whether its app began to work.

        Processes that take part in the submission may die, too.
        """
        try:
            self._flower.submit(self._path, **self._task)
        except RunError as error:
            self._submit_error = str(error)
            self._wait_for(self._flower.is_healthy, STARTUP_TIMEOUT_SECONDS)
            return False
        self._submit_error = ""
        return self._wait_for(self._has_begun, APP_STARTUP_TIMEOUT_SECONDS)

    def _wait_for(self, condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Keep the processes running until a condition holds.

        Args:
            condition: function that is called again and again
            seconds:   longest wait

        Returns:
            True if the condition holds, False after the longest wait.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._event_reader.play()
            for name in self._flower.restart_dead():
                self._output.say(
                    f"The server's process {name} ended unexpectedly and was started again."
                )
            time.sleep(SUPERVISION_POLL_SECONDS)
        return True

    def _has_begun(self) -> bool:
        return self._mailbox.is_app_at_work() or self._mailbox.outcome() is not None

    def _has_ended(self) -> bool:
        return not self._mailbox.is_app_at_work()


def _resolve_run(request: LaunchRequest) -> tuple[Path, RunConfig]:
    """Return the run's directory and configuration: of a new run, or of the one to resume."""
    settings = request.settings
    allow_of_run(settings.get("run.out"), settings)
    if settings.get("model.resume_from"):
        from fedshelf.server.training.resume_model import adopt  # loads torch

        settings = adopt(settings)
    settings = _with_absolute_weights(settings)
    completed = recipes.complete(request.settings, photos=True, inherited=settings)
    config = resolve({"data.dataset": STORES_OWN}, completed.settings)
    name = config.run.name or f"stores-{config.model.name}-{config.strategy.name}"
    requested = Path(config.run.out or f"runs/{name}")
    if request.resume or (config.run.out and RunDirectory.is_run(requested)):
        # only what was given: of the rest the run decided itself
        given = {key: settings[key] for key in request.settings}
        return requested, RunDirectory.stored(requested, given)
    path = Path(config.run.out) if config.run.out else free_name(Path("runs") / name)
    RunDirectory.check_new(path)
    if completed.note:
        print(completed.note, flush=True)
    own = {"run.out": str(path)}
    return path, resolve({"data.dataset": STORES_OWN}, completed.settings, own)


def check_early(config: RunConfig) -> None:
    """Check that model and strategy can be built, before anything is started.

    PyTorch, which costs seconds and 500 MB, is loaded only for checks that need it: of
    torchvision's networks, weights from a file, and a chosen strategy.

    Raises:
        ConfigError: the settings of model, strategy or privacy do not fit.
        DataError: the file of weights cannot be read.
    """
    spec = models.specify(
        config.model,
        (),
        image_size=config.data.image_size,
        native_size=None,
        channels=STORE_CHANNELS,
    )
    classes = len(config.data.classes) or CLASSES_IN_CHECKS
    sized = resolve(flatten(config), {"data.image_size": spec.image_size})
    if note := check_own_code(sized, classes, STORE_CHANNELS):
        print(note, flush=True)
    models.initial_weights(config.model)
    dp_settings.check_settings(config)
    formulas.check(config)
    trackers.check(config)
    if config.strategy != StrategyConfig():
        from fedshelf.common import strategies

        strategies.check(config)


def _with_absolute_weights(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with an absolute path of initial weights.

    The app works in another directory.
    """
    weights = settings.get("model.weights", "")
    absolute = (
        {"model.weights": str(Path(weights).resolve())}
        if str(weights).endswith(".safetensors")
        else {}
    )
    return {**settings, **absolute}


def _finished_message(path: Path, config: RunConfig) -> str | None:
    """Return a sentence about a run that is finished and has nothing more to do; else None."""
    summary_file = path / "summary.json"
    if not (RunDirectory.is_run(path) and summary_file.exists() and (path / WEIGHTS_FILE).exists()):
        return None
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    stored_config = RunDirectory.stored(path, {})
    wants_more = (
        config.run.rounds > stored_config.run.rounds
        or config.evaluation.patience != stored_config.evaluation.patience
    )
    wants_more |= config.run.deliver != stored_config.run.deliver
    if summary["status"] != "finished" or wants_more:
        return None
    message = (
        f"The run in {path} is finished after {summary['rounds']} rounds:"
        f" {path / 'model.safetensors'} is its model."
    )
    if "delivery" not in summary:
        return (
            f"{message} The stores do not have it yet: `flower-server deliver {path}` gives it to"
            " them."
        )
    missing = summary["delivery"].get("missing")
    hint = (
        f" `flower-server deliver {path}` gives it to those that lack it: {', '.join(missing)}."
        if missing
        else ""
    )
    return message + hint


def _rename_classes(path: Path, names: ProductNames) -> None:
    """Rename the classes of a finished run as asked, and say so if that changes them."""
    from fedshelf.server.report.page import rename_classes  # loads torch

    if rename_classes(path, names):
        print(f"Its classes have the names asked for, in {path / 'report.html'} and model.json.")


@contextmanager
def stop_on_signals(mailbox: RunMailbox, output: RunOutput, message: str) -> Iterator[None]:
    """Ask the app to end on the first SIGINT or SIGTERM; end everything at once on the second.

    Args:
        mailbox: files through which launcher and app talk
        output:  shows the message
        message: printed on the first signal
    """

    def handle_signal(_number: int, _frame: FrameType | None) -> None:
        if mailbox.is_stop_asked():
            raise KeyboardInterrupt
        mailbox.ask_to_stop()
        output.say(message)

    previous_handlers = {
        signal_number: signal.signal(signal_number, handle_signal)
        for signal_number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for signal_number, handler in previous_handlers.items():
            signal.signal(signal_number, handler)


def _exit_code(path: Path, summary: Mapping[str, Any]) -> int:
    """Return the exit code: 0 for a model of a run that went to its end.

    The run's files decide, not Flower's status.
    """
    if summary["status"] == "stopped":
        return STOPPED_EXIT_CODE
    has_model = summary["rounds"] > 0 and summary["stores"] > 0 and (path / WEIGHTS_FILE).is_file()
    return 0 if summary["status"] == "finished" and has_model else RunError.exit_code
