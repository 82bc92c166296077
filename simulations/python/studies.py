"""`fedshelf.compare` and `fedshelf.sweep`: many trainings at once, from Python."""

import json
from collections.abc import Mapping
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from rich.console import Console

from fedshelf.common import own_objects
from fedshelf.common.config import known_keys
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.text import printable
from fedshelf.server.results.run_directory import free_name
from fedshelf.simulations.compare.command import COMPARE_FILE
from fedshelf.simulations.compare.command import compare as run_comparison
from fedshelf.simulations.compare.request import ComparisonRequest
from fedshelf.simulations.compare.wording import findings
from fedshelf.simulations.python.given_objects import GivenObjects, collect
from fedshelf.simulations.python.settings import SHORT, plain
from fedshelf.simulations.python.simulated_run import REPORT_FILE, ReportPath
from fedshelf.simulations.python.simulating import own_threads, read_arguments
from fedshelf.simulations.sweep.command import RESULTS_FILE
from fedshelf.simulations.sweep.command import sweep as run_sweep
from fedshelf.simulations.sweep.points import NOT_SWEPT, draw, grid
from fedshelf.simulations.sweep.request import SweepRequest, check_same
from fedshelf.simulations.sweep.words import headline

SWEPT = ("model", "strategy", "partition", "augmentation", "stores", "rounds")
"""The arguments that may be lists of values in a sweep; settings may, too."""


class Study:
    """The outcome of a comparison or a sweep.

    Args:
        directory: its directory
        file: of its results, JSON
    """

    def __init__(self, directory: Path, file: str) -> None:
        self.directory = directory
        self._file = file

    @property
    def results(self) -> dict[str, Any]:
        """All results, as the file in the directory has them.

        Raises:
            RunError: the study was stopped before there were any.
        """
        path = self.directory / self._file
        if not path.is_file():
            raise RunError(
                f"There is no {self._file} in {self.directory}: it was stopped; go on with"
                f" resume={str(self.directory)!r}."
            )
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return results

    def findings(self) -> list[str]:
        """Return the outcome in a few sentences, the answer first."""
        results = self.results
        if self._file == RESULTS_FILE:
            return headline(results, [point["label"] for point in results["points"]])
        return findings.headline(results)

    def report(self) -> Path:
        """Return the path of `report.html`; a notebook shows the page."""
        return ReportPath(self.directory / REPORT_FILE)

    def __repr__(self) -> str:
        return f"Study({str(self.directory)!r})"

    def _repr_html_(self) -> str:
        words = "".join(f"<div>{escape(printable(line))}</div>" for line in self.findings())
        return f"<b>{escape(str(self.directory))}</b>{words}"


def compare(
    arguments: Mapping[str, Any],
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    resume: str | PathLike[str] | None,
    *,
    progress: bool,
) -> Study:
    """Run or resume a comparison; `fedshelf.compare` describes the arguments.

    Raises:
        FedshelfError: settings, data or objects cannot be used, or an arm cannot go on.
    """
    _, flat = read_arguments(arguments, settings, resume)
    flat["run.out"] = str(resume or _new_directory(flat, "compare"))
    if options["seeds"] and "run.seed" in flat:
        raise ConfigError("The arguments seed and seeds were both given; give one of them.")
    request = ComparisonRequest(
        flat,
        resume is not None,
        tuple(map(plain, options["seeds"])),
        options["tune_epochs"],
        options["tune_lr"],
        bool(options["leave_one_out"]),
    )
    with own_threads():
        run_comparison(request, Console(quiet=not progress))
    return Study(Path(flat["run.out"]), COMPARE_FILE)


def sweep(
    arguments: Mapping[str, Any],
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    resume: str | PathLike[str] | None,
    *,
    progress: bool,
) -> Study:
    """Carry out or resume a sweep; `fedshelf.sweep` describes the arguments.

    Raises:
        FedshelfError: settings or data cannot be used, or all runs failed.
    """
    flat, swept = _points_of(arguments, settings)
    seeds = [int(plain(seed)) for seed in options["seeds"]]
    console = Console(quiet=not progress)
    if resume is not None:
        request = SweepRequest.read(Path(resume))
        check_same(request, flat | dict.fromkeys(swept, ""), seeds)
        directory = Path(resume)
    else:
        directory = Path(flat.pop("run.out", "") or _new_directory(flat, "sweep"))
        points = grid(swept)
        seeds = seeds or [int(flat.pop("run.seed", 0))]
        if options["random"] is not None:
            points = draw(points, options["random"], seeds[0])
        request = SweepRequest(flat, swept, points, seeds, bool(options["halving"]))
    run_sweep(request, directory, options["jobs"], console, resume=resume is not None)
    return Study(directory, RESULTS_FILE)


def _points_of(
    arguments: Mapping[str, Any], settings: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return the settings of all runs, and those with several values, as text.

    Raises:
        ConfigError: an unknown setting, one that a sweep has for itself, or an object that the
            processes of the runs could not import.
    """
    listed = {name for name in SWEPT if isinstance(arguments.get(name), list | tuple)}
    given, flat = read_arguments(
        {name: value for name, value in arguments.items() if name not in listed}, settings
    )
    _check_importable(given)
    values = flat | {
        SHORT[name]: [_sweepable(name, value) for value in arguments[name]]
        for name in SWEPT
        if name in listed
    }
    defaults = known_keys()
    swept = {
        key: [_as_text(value) for value in several]
        for key, several in values.items()
        if isinstance(several, list | tuple) and not isinstance(defaults.get(key), tuple)
    }
    if forbidden := sorted(NOT_SWEPT & swept.keys()):
        raise ConfigError(
            f"Setting {forbidden[0]} takes one value in a sweep; give seeds=[0, 1, 2] for several."
        )
    return {key: _as_text(value) for key, value in values.items() if key not in swept}, swept


def _sweepable(argument: str, value: Any) -> Any:
    """Return one of several values of an argument as a setting has it: an object has a name.

    Raises:
        ConfigError: it cannot be used, or is an object that other processes cannot import.
    """
    given = collect({argument: value})
    _check_importable(given)
    return given.settings.get(SHORT[argument], value)


def _check_importable(given: GivenObjects) -> None:
    """Check that the processes of a sweep find all objects. Raises ConfigError."""
    for kind, name in given.known:
        if own_objects.is_given(name):
            raise ConfigError(
                f"The {kind.noun} {name} is an object that only this program has, and the runs of a"
                " sweep are processes of their own; put it into a module, or call fedshelf.simulate"
                " in a loop."
            )


def _as_text(value: Any) -> str:
    """Return a setting's value as text, as the command line has it."""
    value = plain(value)
    if isinstance(value, list | tuple):
        return json.dumps(list(value), ensure_ascii=False)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _new_directory(flat: Mapping[str, Any], name: str) -> Path:
    return Path(flat.get("run.out") or free_name(Path("runs") / name))
