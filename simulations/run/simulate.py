"""The run of one simulated training, from settings to a run directory."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console

from fedshelf.common import strategies
from fedshelf.common.classes import display_names
from fedshelf.common.classes.display_names import ProductNames
from fedshelf.common.config import STORES_OWN, RunConfig, flatten, resolve
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.names import COMPARISON_FILE
from fedshelf.common.native import compiler
from fedshelf.common.system import device
from fedshelf.server.report import console as screen
from fedshelf.server.report.json_log import JsonLog
from fedshelf.server.report.sections import NOT_VISIBLE
from fedshelf.server.results.operator_settings import SETTINGS_CHANGED
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.server.results.run_status import RunObserver
from fedshelf.server.results.scenes.examples import scene_photos
from fedshelf.server.settings import recipes
from fedshelf.server.settings.own_code import check_own_code
from fedshelf.server.settings.precision import settle_precision
from fedshelf.server.store_privacy.refusals import check_stores
from fedshelf.server.training.resume_model import adopt
from fedshelf.server.training.robustness_guarantee import check_cohort
from fedshelf.server.training.run import StopRequest, Training
from fedshelf.server.training.selection_images import ServerImages, divide
from fedshelf.server.training.setup import InitialState, prepare, settle
from fedshelf.server.updates import secure_sums
from fedshelf.server.updates.anomaly_detection import is_on, sample_of
from fedshelf.server.updates.evaluator import Evaluators, build_evaluator
from fedshelf.simulations import datasets, engines
from fedshelf.simulations.engines import Engine
from fedshelf.simulations.federation import federation, fingerprint
from fedshelf.simulations.federation.tables import partition_table
from fedshelf.simulations.run.features import feature_extractor
from fedshelf.simulations.run.own_code import allow_named

NO_COMPILER = (
    "No C compiler (cc, gcc or clang) was found: training on the CPU takes up to three times as"
    " long as with one, and its results differ in the last digits."
)
CHANGED_DATA_ADVICE = "begin a new run, or continue with the present data: --changed-data"


class RoundDisplay(RunObserver, Protocol):
    """An observer of a run's rounds that is a context manager while they are played."""

    def __enter__(self) -> Self:
        """Begin to show."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""


def _no_hook(path: Path, stop: StopRequest) -> None:
    """Do nothing before the first round."""


@dataclass(frozen=True)
class SimulationRequest:
    """The request of the command line.

    Attributes:
        settings: flat settings, merged in the order of their precedence
        resume: whether to continue a run
        began: time.perf_counter() when the process started
        changed_data: whether to resume with other images than the run began with
        names: product names of the classes; None: those of the resumed run, else the folders' names
        as_json: whether to write JSON lines in place of a table
        per_store: whether the table has a line for each store of a round
        quiet: whether nothing is written but the run directory at the end
        display: makes an observer of so many rounds, in place of the usual ones
        on_begin: called with the run's directory and its request to stop, before its first round
        changed: settings that a run to resume changes although they are fixed otherwise, with their
            values so far
    """

    settings: dict[str, Any]
    resume: bool
    began: float
    changed_data: bool = False
    names: ProductNames | None = None
    as_json: bool = False
    per_store: bool = False
    quiet: bool = False
    display: Callable[[int], RoundDisplay] | None = None
    on_begin: Callable[[Path, StopRequest], None] = _no_hook
    changed: Mapping[str, Any] = field(default_factory=dict)


def simulate(request: SimulationRequest, console: Console) -> dict[str, Any]:
    """Run or resume one simulation.

    Args:
        request: the request of the command line
        console: gets the tables, or the JSON lines, and the notes

    Returns:
        The content of `summary.json`.

    Raises:
        FedshelfError: the settings, the data or the directory cannot be used, or the run cannot go
            on.
    """
    shown = Console(quiet=True) if request.quiet else console
    path, config, note = _directory_and_settings(request)
    config = resolve(flatten(config), {"run.device": str(device.pick_device(config.run.device))})
    source = datasets.find(config.data)
    config = settle(config, source.native_size, source.channels)
    config, precision_note = settle_precision(config, source.channels)
    stores = federation.build(config, image_size=config.data.image_size, channels=source.channels)
    network_note = check_own_code(config, len(stores.classes), source.channels)
    start = prepare(config, stores.classes, source.channels)
    unknown = display_names.check_classes(request.names or {}, stores.classes)
    _check_judges(start, stores)
    _check_number(start.plan.config, len(stores.stores))
    images = divide(start, stores.infos(), stores.test)
    build_engine = engines.find(engines.choose(start))
    with closing(RunDirectory.open(path, start.plan.config, request.settings)) as directory:
        data_fingerprint = fingerprint.fingerprint_of(stores)
        change_note = fingerprint.check(
            directory, data_fingerprint, "" if request.changed_data else CHANGED_DATA_ADVICE
        )
        table = {"classes": list(stores.classes), "stores": stores.table}
        directory.write("partition.json", table)
        names = display_names.choose_for_run(directory.path, request.names)
        rounds = _display(request, config.run.rounds, shown)
        notes = [unknown]
        if not request.resume:
            if not request.as_json:
                shown.print(partition_table(stores, names, shown.width))
            hidden = NOT_VISIBLE if config.privacy.secure_sum else ""
            notes += [note, stores.left_out, images.told, precision_note, network_note, hidden]
            notes += _advice(start)
        for line in "\n".join(filter(None, notes)).splitlines():
            rounds.note(line)
        start = start.identified(directory.run_id())
        stores = replace(stores, test=images.test)
        if extractor := feature_extractor(start, rounds.note):
            stores = stores.with_features(extractor)
            images = images.with_features(extractor)
        with closing(build_engine(stores, start, path / "stores")) as engine:
            stop = StopRequest(rounds)
            request.on_begin(path, stop)
            evaluators = _evaluators(start, images, engine)
            startup = time.perf_counter() - request.began
            remark = _remark(request, start.plan.config, change_note)
            training = Training(
                start, engine, rounds, directory, startup, evaluators, remark=remark
            )
            with rounds, stop.on_signals():
                summary = training.run(stop)
            fingerprint.keep(directory, data_fingerprint, change_note)
        _close(request, rounds, summary, path, console)
        return summary


def _display(request: SimulationRequest, rounds: int, console: Console) -> RoundDisplay:
    """Return the observer of a run's rounds in the form that was asked for."""
    if request.display:
        return request.display(rounds)
    if request.as_json:
        return JsonLog(rounds, console.file)
    return screen.RoundTable(rounds, console=console, per_store=request.per_store)


def _close(
    request: SimulationRequest,
    rounds: RoundDisplay,
    summary: Mapping[str, Any],
    path: Path,
    console: Console,
) -> None:
    """Write a run's outcome in the form that was asked for."""
    if isinstance(rounds, JsonLog):
        rounds.closing(summary, path)
    elif request.quiet:
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    else:
        screen.print_outcome(summary, path, console=console)


def _remark(
    request: SimulationRequest, config: RunConfig, change_note: list[str]
) -> dict[str, Any]:
    """Return what the first coming line of the history says of changes since the last."""
    flat = flatten(config)
    changed = {key: [before, flat[key]] for key, before in request.changed.items()}
    return {
        **({fingerprint.REMARK: change_note} if change_note else {}),
        **({SETTINGS_CHANGED: changed} if changed else {}),
    }


def _advice(start: InitialState) -> Iterator[str]:
    """Yield what would make this run faster here; an empty sentence says nothing."""
    if start.plan.config.run.device == "cpu" and not compiler.has_compiler():
        yield NO_COMPILER
    yield engines.advice(start)


def _check_number(config: RunConfig, stores: int) -> None:
    """Check that there are enough stores for all settings; raise ConfigError if not."""
    check_cohort(config, stores)
    check_stores(config, stores)
    secure_sums.check_stores(config, stores)


def _check_judges(start: InitialState, stores: federation.Federation) -> None:
    """Check that stores with personal parts of the model have images to judge it on.

    Raises:
        ConfigError: they have none.
    """
    config = start.plan.config
    infos = stores.infos()
    if strategies.build(config.strategy, start.layout).personal_tensors() and not any(
        i.validation for i in infos.values()
    ):
        raise ConfigError(
            f"Setting data.holdout got {config.data.holdout:g} with strategy"
            f" {config.strategy.name}, which keeps parts of the model at the stores: only they can"
            " judge it, on images that they hold out; set data.holdout, for example 0.2."
        )


def _evaluators(start: InitialState, images: ServerImages, engine: Engine) -> Evaluators:
    """Return the server's evaluators.

    Single updates are evaluated only if anomaly detection is on.
    """
    config = start.plan.config
    test = engine.evaluate_test_set if images.test is not None else None
    sample = sample_of(build_evaluator(start.plan, images.test), config) if is_on(config) else None
    return Evaluators(
        test,
        build_evaluator(start.plan, images.validation),
        sample,
        scene_photos(start.plan, images.test),
    )


def _directory_and_settings(request: SimulationRequest) -> tuple[Path, RunConfig, str]:
    """Return the run's directory and configuration, of a new run or the one to resume.

    The third is a note on the new run for a person; often empty.
    """
    allow_named(request.settings)
    settings = adopt(request.settings)
    if settings.get("data.dataset") == STORES_OWN:  # a folder of this name is no deployment
        settings["data.dataset"] = str(Path(STORES_OWN).resolve())
    config = resolve(settings)
    completed = recipes.Completed(settings)
    if not (request.resume and config.run.out):
        source = datasets.find(config.data)
        completed = recipes.complete(
            request.settings,
            photos=source.native_size is None,
            inherited=settings,
            scenes=source.are_scenes,
        )
        config = resolve(completed.settings)
    if request.resume:
        path = Path(config.run.out or f"runs/{_name(config)}")
        if (path / COMPARISON_FILE).is_file():
            raise RunError(
                f"{path} holds a comparison; go on with it by flower-simulation compare --resume."
            )
        allow_named({}, path)
        # only what was given: of the rest the run decided itself
        given = {key: settings[key] for key in request.settings}
        return path, RunDirectory.stored(path, given, request.changed), ""
    if not config.run.out:
        out = str(free_name(Path("runs") / _name(config)))
        config = resolve(completed.settings, {"run.out": out})
    path = Path(config.run.out)
    RunDirectory.check_new(path)
    return path, config, completed.note


def _name(config: RunConfig) -> str:
    return config.run.name or "-".join(
        [Path(config.data.dataset).name, config.model.name, config.strategy.name]
    )
