"""`fedshelf.simulate`: one simulated training from Python, with the files of the command."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from fedshelf.common.command_line import ENVIRONMENT
from fedshelf.common.config import StrategyConfig, flatten
from fedshelf.common.errors import ConfigError
from fedshelf.server.report.console import RoundTable
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.simulations.python.callbacks import Callback, CallbackDisplay, SettingsChange
from fedshelf.simulations.python.given_objects import GivenObjects, collect
from fedshelf.simulations.python.notebook import NotebookDisplay, is_notebook
from fedshelf.simulations.python.settings import to_keys
from fedshelf.simulations.python.simulated_run import SimulatedRun
from fedshelf.simulations.run.own_code import allow_named
from fedshelf.simulations.run.simulate import RoundDisplay, SimulationRequest
from fedshelf.simulations.run.simulate import simulate as run_simulation


def simulate(
    arguments: Mapping[str, Any],
    settings: Mapping[str, Any],
    callbacks: Sequence[Callback],
    resume: str | PathLike[str] | None,
    *,
    progress: bool,
) -> SimulatedRun:
    """Run or resume a simulation; `fedshelf.simulate` describes the arguments.

    Args:
        arguments: those of `fedshelf.simulate` that name settings or have objects; None: not given
        settings: keyword -> value
        callbacks: called after each round
        resume: directory of a run to go on with; None: a new one
        progress: whether to show the rounds

    Raises:
        FedshelfError: settings, data or objects cannot be used, or the run cannot go on.
    """
    began = time.perf_counter()
    given, flat = read_arguments(arguments, settings, resume)
    if resume is not None:
        flat["run.out"] = str(resume)
    shown = CallbackDisplay(partial(_display, progress=progress), callbacks)
    request = SimulationRequest(
        flat,
        resume is not None,
        began,
        quiet=not progress,
        display=shown.of_rounds,
        on_begin=shown.begin,
    )
    console = Console() if progress and not is_notebook() else Console(quiet=True)
    with own_threads():
        while True:
            try:
                run_simulation(request, console)
                return SimulatedRun(shown.directory, given)
            except SettingsChange as change:
                request = _after(change, request, shown.directory, given)


def read_arguments(
    arguments: Mapping[str, Any],
    settings: Mapping[str, Any],
    resume: str | PathLike[str] | None = None,
) -> tuple[GivenObjects, dict[str, Any]]:
    """Return the objects among the arguments, registered, and all settings in their flat form.

    Raises:
        ConfigError: one of them cannot be used, or a setting is unknown.
    """
    given = collect(arguments)
    given.register()
    run = Path(resume) if resume is not None else None
    allow_named(given.settings, run)
    strategy = given.settings.get("strategy.name")
    if strategy is None and run is not None and RunDirectory.is_run(run):
        strategy = RunDirectory.read_config(run).strategy.name
    flat = given.settings | to_keys(settings, strategy or StrategyConfig().name)
    allow_named(flat)
    return given, flat


@contextmanager
def own_threads() -> Iterator[None]:
    """Give the program back its number of threads, which training on a CPU sets to 1.

    As in the commands, no library reports home, unless the program has decided otherwise.
    """
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _display(rounds: int, *, progress: bool) -> RoundDisplay:
    if progress and is_notebook():
        return NotebookDisplay(rounds)
    return RoundTable(rounds, console=Console(quiet=not progress))


def _after(
    change: SettingsChange, request: SimulationRequest, directory: Path, given: GivenObjects
) -> SimulationRequest:
    """Return the request that goes on with changed settings.

    Raises:
        ConfigError: the privacy of the run depends on its settings.
    """
    given.register()
    stored = RunDirectory.stored(directory, {})
    if stored.privacy.is_on or stored.privacy.protects_stores:
        raise ConfigError(
            f"A callback changed {', '.join(change.settings)}, but the privacy of this run is"
            " accounted for its settings from the start; change nothing."
        )
    before = flatten(stored)
    return replace(
        request,
        settings={**change.settings, "run.out": str(directory)},
        resume=True,
        changed={key: before[key] for key in change.settings},
    )
