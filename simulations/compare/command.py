"""`flower-simulation compare`, from settings to a directory with `compare.json` and `report.html`."""

import json
import time
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from common import device
from common.config import RunConfig, flatten, resolve
from common.errors import ConfigError, DataError, RunError
from common.native import compiler
from server.growth import adopt
from server.plan import settle
from server.run_directory import RunDirectory, free_name
from simulations import datasets, federation
from simulations.compare import page, screen
from simulations.compare.contributions import contributions
from simulations.compare.crew import Crew
from simulations.compare.held_out import HeldOut, hold_out
from simulations.compare.parts import Options, Part, plan
from simulations.compare.verdict import Found, verdict
from simulations.engines.sequential import workers_of
from simulations.federation import Federation
from simulations.run import NO_COMPILER
from simulations.tables import partition_table

FILE = "compare.json"
OPTIONS = "options.json"
CHANGEABLE = frozenset({"run.out", "run.workers", "run.device"})
TUNE_EPOCHS, TUNE_LR_PART = 2, 5  # epochs; the first round's learning rate divided by this


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    settings:      flat settings, merged in the order of their precedence
    tune_epochs:   as in `Options`; None: as the comparison to resume has it, else TUNE_EPOCHS
    tune_lr:       the same; else the first round's learning rate by TUNE_LR_PART
    leave_one_out: as in `Options`; a comparison to resume may have it already
    """

    settings: dict[str, Any]
    resume: bool
    tune_epochs: int | None
    tune_lr: float | None
    leave_one_out: bool


@dataclass(frozen=True)
class _Comparison:
    """A comparison that can begin, or go on."""

    config: RunConfig
    federation: Federation
    held_out: HeldOut
    options: Options
    parts: list[Part]


def compare(request: Request, console: Console) -> bool:
    """Run or resume a comparison; returns whether it is finished. Raises FedshelfError."""
    began = time.perf_counter()
    path, config = _place(request)
    config = resolve(flatten(config), {"run.device": str(device.pick(config.run.device))})
    source = datasets.find(config.data)
    config = settle(config, source.native_size, source.channels)
    dealt = federation.build(config, image_size=config.data.image_size, channels=source.channels)
    _check(config, dealt)
    stores, held_out = hold_out(dealt, config.run.seed)
    with closing(RunDirectory.open(path, config, request.settings)) as directory:
        options = _options(request, config, directory)
        comparison = _Comparison(config, stores, held_out, options, plan(config, stores, options, path))
        if not request.resume:
            _tell(config, dealt, console)
        found = _found(comparison, path, console)
        if found is None:
            console.print(f"Stopped. To go on: flower-simulation compare --resume --out {path}", markup=False)
            return False
        directory.write(FILE, found | {"seconds": time.perf_counter() - began})
        page.write(path)
    screen.closing(found, path, console)
    return True


def _tell(config: RunConfig, dealt: Federation, console: Console) -> None:
    """What a person should know before it begins."""
    console.print(partition_table(dealt, console.width))
    if dealt.left_out:
        console.print(dealt.left_out, markup=False)
    if config.run.device == "cpu" and not compiler.is_available():
        console.print(NO_COMPILER, markup=False)


def _found(comparison: _Comparison, path: Path, console: Console) -> dict[str, Any] | None:
    """Train and judge; None if that was stopped before its end."""
    parts = comparison.parts
    workers = min(workers_of(comparison.config), len(parts))
    with closing(Crew(parts, comparison.held_out, path, workers)) as crew:
        outcomes = screen.follow(crew, parts, console)
    if not all(number in outcomes and outcomes[number].is_finished for number in range(len(parts))):
        return None
    found = Found(parts, outcomes, len(comparison.federation.classes))
    told = verdict(comparison.config, comparison.federation, comparison.held_out, comparison.options, found)
    contributed = contributions(found)
    return told | {"contributions": contributed} if contributed else told


def _check(config: RunConfig, dealt: Federation) -> None:
    """Raises DataError or ConfigError for what cannot be compared."""
    if len(dealt.stores) < 2:
        raise DataError("A comparison needs at least two stores, got one; give --stores, or another folder of them.")
    if config.train.objective != "classes":
        raise ConfigError(
            f"A comparison is about product classes, got train.objective {config.train.objective}; leave it out, and"
            " give what came of such a run as model.weights."
        )
    if config.train.seconds:
        raise ConfigError(
            f"A comparison gives all models as many passes over images, got train.seconds {config.train.seconds:g}, a"
            " budget of time; leave it out."
        )
    if config.run.engine == "ray" or config.run.ray_address:
        raise ConfigError(
            "A comparison trains its parts on the cores or the GPU of this machine, got the engine ray;"
            " leave it out, or train parts by themselves with flower-simulation run."
        )


def _place(request: Request) -> tuple[Path, RunConfig]:
    """Where the comparison lives, and its configuration: a new one, or that of the one to resume."""
    settings = adopt(request.settings)
    config = resolve(settings)
    default = Path("runs") / f"compare-{config.run.name or Path(config.data.dataset).name}"
    if request.resume:
        path = Path(config.run.out or default)
        if (path / "history.jsonl").exists():
            raise RunError(f"{path} holds a run, not a comparison; go on with it by flower-simulation run --resume.")
        stored = RunDirectory.stored(path, settings)
        for key in settings.keys() - CHANGEABLE:
            if flatten(stored)[key] != flatten(RunDirectory.stored(path, {}))[key]:
                raise ConfigError(f"Setting {key} cannot change when a comparison goes on; start a new one.")
        return path, stored
    path = Path(config.run.out) if config.run.out else free_name(default)
    RunDirectory.check_new(path)
    return path, resolve(settings, {"run.out": str(path)})


def _options(request: Request, config: RunConfig, directory: RunDirectory) -> Options:
    """What is asked for, or else what the comparison has been told before. Raises ConfigError if they differ."""
    path = directory.path / OPTIONS
    before = Options(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
    usual = before or Options(TUNE_EPOCHS, config.train.lr / TUNE_LR_PART, leave_one_out=False)
    options = Options(
        usual.tune_epochs if request.tune_epochs is None else request.tune_epochs,
        usual.tune_lr if request.tune_lr is None else request.tune_lr,
        request.leave_one_out or usual.leave_one_out,
    )
    if before and (options.tune_epochs, options.tune_lr) != (before.tune_epochs, before.tune_lr):
        raise ConfigError(
            f"The comparison in {directory.path} fine-tunes for {before.tune_epochs} epochs with learning rate"
            f" {before.tune_lr:g}; leave both out to go on with it, or start a new one."
        )
    directory.write(OPTIONS, asdict(options))
    return options
