"""The commands `flower-simulation runs` and `flower-simulation diff`."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fedshelf.common.errors import ConfigError
from fedshelf.common.text import printable
from fedshelf.server.formatting import UNKNOWN, duration, percent
from fedshelf.server.operations.listing_output import print_table, to_json
from fedshelf.simulations.listing.run_facts import (
    RunFacts,
    differing_settings,
    read_all,
    read_facts,
)

COLUMNS = ("name", "status", "rounds", "validation", "test", "seconds", "written")


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
    rows = [[*_cells(each), *(_shown(each.settings.get(key)) for key in keys)] for each in runs]
    columns = ("run", "state", "rounds", "validation", "test", "time", "written")
    print_table([*columns, *keys], rows, numbers=("rounds", "validation", "test", "time"))


def print_difference(first: Path, second: Path) -> None:
    """Print the settings and results in which two runs differ.

    Raises:
        RunError: one of them holds no run.
        ConfigError: the settings of one cannot be read.
    """
    pair = [read_facts(path, str(path)) for path in (first, second)]
    keys = differing_settings(pair)
    settings = [[key, *(_shown(facts.settings.get(key)) for facts in pair)] for key in keys]
    results = zip(
        ("state", "rounds", "validation", "test", "time"), *map(_results, pair), strict=True
    )
    names = [printable(facts.name) for facts in pair]
    print_table(["", *names], [*settings, *map(list, results)])
    if not keys:
        print("All their settings are the same.")


def _sorted(runs: Sequence[RunFacts], column: str, keys: Sequence[str]) -> list[RunFacts]:
    if column not in (*COLUMNS, *keys):
        allowed = ", ".join((*COLUMNS, *keys))
        raise ConfigError(f"--sort got {column!r}; expected one of {allowed}.")
    falls = column in ("validation", "test", "written", "rounds")
    known = [facts for facts in runs if _value(facts, column) is not None]
    unknown = [facts for facts in runs if _value(facts, column) is None]
    return sorted(known, key=lambda facts: _rank(_value(facts, column)), reverse=falls) + unknown


def _rank(value: Any) -> tuple[bool, float, str]:
    """Return a key by which numbers stand before words."""
    is_number = isinstance(value, int | float)
    return not is_number, float(value) if is_number else 0.0, str(value)


def _value(facts: RunFacts, name: str) -> Any:
    """Return the value in a column."""
    return asdict(facts)[name] if name in COLUMNS else facts.settings.get(name)


def _cells(facts: RunFacts) -> list[str]:
    written = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.written))
    return [printable(facts.name), *_results(facts), written]


def _results(facts: RunFacts) -> list[str]:
    return [
        facts.status,
        str(facts.rounds),
        percent(facts.validation),
        percent(facts.test),
        duration(facts.seconds),
    ]


def _shown(value: Any) -> str:
    """Return a setting's value as text for a cell."""
    if value is None:
        return UNKNOWN
    words = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return printable(words)
