"""The commands `flower-simulation runs` and `flower-simulation diff`."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics import formulas
from fedshelf.common.text import printable
from fedshelf.server.figure_names import figure_title
from fedshelf.server.formatting import UNKNOWN, decimal, duration, percent
from fedshelf.server.operations.listing_output import print_table, to_json
from fedshelf.simulations.listing.run_facts import (
    RunFacts,
    differing_settings,
    read_all,
    read_facts,
)

COLUMNS = ("name", "status", "rounds", "figure", "validation", "test", "seconds", "written")
FURTHER_DIGITS = 4


def list_runs(folder: Path, sort: str, *, as_json: bool) -> None:
    """Print all runs in a folder, with the settings in which they differ.

    Args:
        folder: of run directories
        sort: a column, or a setting in which the runs differ; best results come first
        as_json: True for a JSON list with all settings

    Raises:
        RunError: there is no run.
        ConfigError: a run's settings cannot be read, or there is no such column.
    """
    runs = read_all(folder)
    keys = differing_settings(runs)
    runs = _sorted(runs, sort, keys)
    if as_json:
        print(to_json(runs))
        return
    names = result_names(runs)
    rows = [
        [
            printable(each.name),
            *results(each, names),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(each.written)),
            *(_shown(each.settings.get(key)) for key in keys),
        ]
        for each in runs
    ]
    numbers = [name for name in names if name not in ("state", "figure")]
    print_table(["run", *names, "written", *keys], rows, numbers=numbers)


def print_difference(first: Path, second: Path) -> None:
    """Print the settings and results in which two runs differ.

    Raises:
        RunError: one of them holds no run.
        ConfigError: the settings of one cannot be read.
    """
    pair = [read_facts(path, str(path)) for path in (first, second)]
    keys = differing_settings(pair)
    settings = [[key, *(_shown(facts.settings.get(key)) for facts in pair)] for key in keys]
    names = result_names(pair)
    rows = zip(names, *(results(facts, names) for facts in pair), strict=True)
    print_table(["", *(printable(facts.name) for facts in pair)], [*settings, *map(list, rows)])
    if not keys:
        print("All their settings are the same.")


def result_names(runs: Sequence[RunFacts]) -> list[str]:
    """Return the names of the columns of results.

    Without scenes, all main figures are accuracies and nothing says so; the figures of further
    metrics follow those that every run has.
    """
    figures = {facts.figure for facts in runs}
    further = dict.fromkeys(name for facts in runs for name in facts.further)
    kind = [] if figures == {"accuracy"} else ["figure"]
    return ["state", "rounds", *kind, "validation", "test", *further, "time"]


def results(facts: RunFacts, names: Sequence[str]) -> list[str]:
    """Return the cells of a run in columns of these names."""
    known = {
        "state": facts.status,
        "rounds": str(facts.rounds),
        "figure": figure_title(facts.figure),
        "validation": percent(facts.validation),
        "test": percent(facts.test),
        "time": duration(facts.seconds),
    }
    return [
        known[name] if name in known else decimal(facts.further.get(name), FURTHER_DIGITS)
        for name in names
    ]


def _sorted(runs: Sequence[RunFacts], column: str, keys: Sequence[str]) -> list[RunFacts]:
    further = dict.fromkeys(name for facts in runs for name in facts.further)
    allowed = (*COLUMNS, *further, *keys)
    if column not in allowed:
        raise ConfigError(f"--sort got {column!r}; expected one of {', '.join(allowed)}.")
    falls = column in ("validation", "test", "written", "rounds") or (
        column in further and not is_lower_better(column, runs)
    )
    known = [facts for facts in runs if _value(facts, column) is not None]
    unknown = [facts for facts in runs if _value(facts, column) is None]
    return sorted(known, key=lambda facts: _rank(_value(facts, column)), reverse=falls) + unknown


def is_lower_better(figure: str, runs: Sequence[RunFacts]) -> bool:
    """Return whether less is better of a figure of the runs' further metrics.

    A metric of a package that is not installed here is taken for one of which more is better.
    """
    for metric in dict.fromkeys(
        name for facts in runs for name in facts.settings.get("evaluation.metrics") or ()
    ):
        with suppress(ConfigError):
            if figure in (better := formulas.find(metric).better):
                return better[figure] == "lower"
    return False


def _rank(value: Any) -> tuple[bool, float, str]:
    """Return a key by which numbers stand before words."""
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, str(value)


def _value(facts: RunFacts, name: str) -> Any:
    """Return the value in a column."""
    if name in COLUMNS:
        return asdict(facts)[name]
    return facts.further.get(name, facts.settings.get(name))


def _shown(value: Any) -> str:
    """Return a setting's value as text for a cell."""
    if value is None:
        return UNKNOWN
    words = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return printable(words)
