"""The facts about a run that a list of runs shows, read from its directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.config import flatten
from fedshelf.common.errors import RunError
from fedshelf.server.figure_names import listed_figures, main_figure
from fedshelf.server.monitor.run_finder import last_written, run_directories
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_directory import RunDirectory

# of these each run has its own, and no result depends on them
NO_DIFFERENCE = frozenset({"run.name", "run.out", "data.classes"})


@dataclass(frozen=True)
class RunFacts:
    """A run as a list shows it.

    Attributes:
        name: its directory, below the folder that was listed
        status: finished, stopped, failed, or unfinished while there is no summary
        rounds: rounds done
        settings: flat settings
        figure: the main figure: as `main_figure` returns it
        validation: main figure of its best round on validation images; None: there are none
        test: main figure of its delivered model on test images; None: there are none
        further: figures of further metrics of its delivered model on test images; of scenes AP50
            and the error of counts at the run's chosen score
        seconds: of the whole run
        written: Unix time (s) of its last change
    """

    name: str
    status: str
    rounds: int
    settings: Mapping[str, Any]
    figure: str
    validation: float | None
    test: float | None
    further: Mapping[str, float | None]
    seconds: float | None
    written: float


def read_facts(path: Path, name: str) -> RunFacts:
    """Read the facts about the run in `path`.

    Raises:
        RunError: there is no run.
        ConfigError: its settings cannot be read.
    """
    if not RunDirectory.is_run(path):
        raise RunError(f"{path} holds no run: it has no config.toml; name a run directory.")
    settings = flatten(RunDirectory.read_config(path))
    summary = read_json(path / "summary.json")
    test = summary.get("test") or {}
    figure = main_figure(test or _last_judged(path, settings))
    seconds = summary.get("seconds") or {}
    return RunFacts(
        name,
        str(summary.get("status", "unfinished")),
        RunDirectory.rounds_done(path),
        settings,
        figure,
        _best_on_validation(path, summary, figure),
        test.get(figure),
        _at_the_chosen_score(listed_figures(test), summary.get("counting") or {}),
        seconds.get("total"),
        last_written(path),
    )


def _at_the_chosen_score(
    figures: Mapping[str, float | None], counting: Mapping[str, Any]
) -> Mapping[str, float | None]:
    """Return figures with the errors of counts at the score that the run chose, if it chose one.

    Evaluations count boxes from a usual score on, the same in each round.

    Args:
        figures: of the delivered model on test images
        counting: the run's choice, as in its summary
    """
    return {key: counting.get(key, value) for key, value in figures.items()}


def _last_judged(path: Path, settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the last evaluation of a run on scenes; empty if there is none, or it has none."""
    if settings.get("train.objective") in ("classes", "turns"):
        return {}
    judged = (each["validation"] or each["test"] for each in RunDirectory(path).history()[::-1])
    return next(filter(None, judged), {})


def _best_on_validation(path: Path, summary: Mapping[str, Any], figure: str) -> float | None:
    """Return a figure of the best round on validation images; None if they did not choose it."""
    best = summary.get("best") or {}
    if best.get("on") != "validation":
        return None
    if figure == "accuracy":
        accuracy: float | None = best.get("accuracy")
        return accuracy
    records = RunDirectory(path).history()
    judged = (each["validation"] for each in records if each["round"] == best["round"])
    return next((found.get(figure) for found in judged if found), None)


def read_all(folder: Path) -> list[RunFacts]:
    """Return the facts about all runs in a folder, the newest first.

    Raises:
        RunError: there is none.
        ConfigError: the settings of one cannot be read.
    """
    found = [read_facts(path, path.name) for path in run_directories(folder)]
    if not found:
        raise RunError(f"There is no run in {folder.resolve()}; name a folder of run directories.")
    return sorted(found, key=lambda facts: facts.written, reverse=True)


def differing_settings(runs: Sequence[RunFacts]) -> list[str]:
    """Return the settings in which runs differ, in the order of the schema.

    A setting that a run does not have, of a strategy from another package, counts as different.
    """
    keys = dict.fromkeys(key for facts in runs for key in facts.settings)
    return [
        key
        for key in keys
        if key not in NO_DIFFERENCE
        and any(facts.settings.get(key) != runs[0].settings.get(key) for facts in runs)
    ]
