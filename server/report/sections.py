"""The contents of each section of the page, computed from a run's data. No markup here."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.classes import display_names
from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.config.field_types import Section
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server import formatting
from fedshelf.server.figure_names import (
    RIGHT_SCENES,
    SCENE_FIGURES,
    figure_title,
    main_figure,
)
from fedshelf.server.report.charts.line_chart import LineChart, line_chart
from fedshelf.server.report.run_data import RunData

NOT_VISIBLE = (
    "A secure sum hides single stores by design: their losses, norms, contributions, suspicious"
    " updates and results per store are not visible; the sums over all stores are."
)
MAX_NAMED = 10  # stores in one sentence
RUN_PHASES = ("startup", "train", "aggregate", "evaluate")


@dataclass(frozen=True)
class Tile:
    """A headline number with its name and a remark."""

    name: str
    value: str
    remark: str


@dataclass(frozen=True)
class Setting:
    """A setting, with its default if it was changed."""

    key: str
    value: str
    default: str | None
    meaning: str


@dataclass(frozen=True)
class FailureRow:
    """Failures of one kind at one store, with their rounds."""

    store: str
    what: str
    reason: str
    rounds: str
    times: int


@dataclass(frozen=True)
class Phase:
    """A part of the run's time; `share` of the total (0..1)."""

    name: str
    text: str
    share: float


def tiles(run: RunData) -> list[Tile]:
    """Return the numbers on top of the page; unknown ones are left out."""
    summary = run.summary
    test = summary.get("test")
    best = summary.get("best")
    seconds = summary.get("seconds") or {}
    shown_tiles = []
    is_of_scenes = main_figure(test) in SCENE_FIGURES
    if test:
        shown_tiles.append(_scene_tile(test) if is_of_scenes else _accuracy_tile(summary))
    worst = (summary.get("per_store_spread") or {}).get("worst_store")
    if worst and not is_of_scenes:
        accuracy = summary["per_store_spread"]["accuracy"]["worst"]
        shown_tiles.append(Tile("Worst store", formatting.percent(accuracy), printable(worst)))
    if calibration := summary.get("calibration"):
        shown_tiles.append(_calibration_tile(calibration))
    if summary.get("delivered_round") is not None:
        shown_tiles.append(_delivered_tile(summary))
    elif best:
        shown_tiles.append(
            Tile(
                "Best round",
                f"{best['round']}",
                f"{best['on']}"
                if is_of_scenes
                else f"{formatting.percent(best['accuracy'])} in {best['on']}",
            )
        )
    if "total" in seconds:
        speed = summary.get("images_per_second")
        shown_tiles.append(
            Tile(
                "Time",
                formatting.duration(seconds["total"]),
                f"{formatting.whole(speed)} images/s" if speed else "",
            )
        )
    if "stores" in summary:
        failing = {name for record in run.history for name in record["failed"]}
        shown_tiles.append(
            Tile(
                "Stores",
                formatting.whole(summary["stores"]),
                f"{len(failing):,} had failures" if failing else "no failures",
            )
        )
    if traffic := summary.get("bytes"):
        shown_tiles.append(
            Tile(
                "Traffic",
                formatting.size(traffic["down"] + traffic["up"]),
                "to and from the stores",
            )
        )
    shown_tiles += _privacy_tiles(summary)
    if "model" in summary:
        shown_tiles.append(
            Tile(
                "Model",
                printable(summary["model"]["name"]),
                f"{formatting.whole(summary['parameters'])} parameters",
            )
        )
    return shown_tiles


def is_chosen(run: RunData) -> bool:
    """Return whether the delivered round was chosen from several, by the images that judge it."""
    deliver = run.config.get("run", {}).get("deliver")
    candidates = run.summary.get("rounds", 0) + bool(run.summary.get("resumed_from"))
    return deliver != "last" and candidates > 1 and formatting.is_best_delivered(run.summary)


def _accuracy_tile(summary: Mapping[str, Any]) -> Tile:
    """Return the test accuracy with its interval and baseline; of scenes, the share of right
    photos.
    """
    test = summary["test"]
    if right := RIGHT_SCENES.get(summary.get("objective", "")):
        title = figure_title(right).removeprefix("photos ")
        return Tile("Test photos", formatting.percent(test["accuracy"]), title)
    remarks = [f"macro F1 {formatting.decimal(test['macro_f1'])}"]
    if interval := test.get("interval"):
        remarks.insert(0, f"{100 * interval[0]:.1f} to {formatting.percent(interval[1])}")
    if baseline := test.get("baseline"):
        remarks.append(f"commonest class {formatting.percent(baseline['accuracy'])}")
    return Tile("Test accuracy", formatting.percent(test["accuracy"]), ", ".join(remarks))


def _scene_tile(test: Mapping[str, Any]) -> Tile:
    """Return the main figure on test photos of scenes, with the others of its kind."""
    main = main_figure(test)
    figures = SCENE_FIGURES[main]
    others = [
        f"{title} {formatting.percent(test[key])}"
        for key, title in figures.items()
        if key != main and key in test
    ]
    return Tile(f"Test {figures[main]}", formatting.percent(test[main]), ", ".join(others))


def _privacy_tiles(summary: Mapping[str, Any]) -> list[Tile]:
    """Return what hides a single photo, or store, in the model; nothing without noise."""
    shown = []
    if photo := summary.get("photo_privacy"):
        remark = f"delta {photo['delta']:g}, if its store trained in all rounds"
        shown.append(Tile("Privacy of a photo", f"epsilon {photo['epsilon']:.3g}", remark))
    if store := summary.get("store_privacy"):
        remark = f"delta {store['delta']:.2g}, signal to noise {store['signal_to_noise']:.2g}"
        shown.append(Tile("Privacy of a store", f"epsilon {store['epsilon']:.3g}", remark))
    return shown


def _delivered_tile(summary: Mapping[str, Any]) -> Tile:
    """Return the round whose model is delivered: chosen, or the last one."""
    remark = (
        f"the start, better than all {summary['rounds']}"
        if not summary["delivered_round"]
        else f"best of {summary['rounds']}"
        if formatting.is_best_delivered(summary)
        else f"the last of {summary['rounds']}"
    )
    return Tile("Delivered round", f"{summary['delivered_round']}", remark)


def _calibration_tile(calibration: Mapping[str, Any]) -> Tile:
    """Return how far the confidence is off that users of the model get."""
    measures = calibration.get("scaled") or calibration["unscaled"]
    temperature = calibration["temperature"]
    remark = f"temperature {formatting.decimal(temperature, 2)}" if temperature else "as trained"
    return Tile("Confidence off", formatting.percent(measures["ece"]), remark)


def repeat_command(run: RunData) -> str:
    """Return the command that runs the same training again; empty without its settings."""
    if not run.config:
        return ""
    tool = (
        "flower-server start"
        if run.config.get("data", {}).get("dataset") == STORES_OWN
        else "flower-simulation run"
    )
    directory = Path(run.config.get("run", {}).get("out") or run.directory.name)
    names = (
        f" --class-names {shlex.quote(printable(directory / display_names.CLASS_NAMES_FILE))}"
        if run.names
        else ""
    )
    return f"{tool} --config {shlex.quote(printable(directory / 'config.toml'))}{names}"


def withheld_losses(run: RunData) -> str:
    """Return a sentence on stores that have trained and withhold the loss of it; empty if none."""
    stores = {
        store
        for record in run.history
        for store, training in record["stores"].items()
        if training.get("steps") and training.get("loss") is None
    }
    if not stores:
        return ""
    return (
        f"The training loss of {format_count(len(stores), 'store')} is withheld by policy; a mean"
        " that lacks one is not drawn."
    )


def withheld_evaluations(run: RunData) -> str:
    """Return a sentence on stores whose policies let no evaluation leave; empty if none."""
    stores = run.summary.get("withholding") or []
    if not stores:
        return ""
    shown = ", ".join(printable(store) for store in stores[:MAX_NAMED])
    more = f" and {len(stores) - MAX_NAMED} more" if len(stores) > MAX_NAMED else ""
    count = format_count(len(stores), "store")
    return f"The evaluations of {count} are withheld by policy: {shown}{more}."


def hidden_by_sums(run: RunData) -> str:
    """Return sentences on what a run with secure sums does not show; empty if it has none."""
    if not run.config.get("privacy", {}).get("secure_sum"):
        return ""
    shortened = sum(record["train"].get("shortened", 0) for record in run.history)
    bound = run.config["privacy"].get("sum_bound")
    told = (
        f" {format_count(shortened, 'update')} of all rounds had a norm above"
        f" privacy.sum_bound={bound:g} and went in scaled down to it."
        if shortened
        else ""
    )
    return NOT_VISIBLE + told


def attendance_chart(run: RunData) -> LineChart | None:
    """Draw the stores asked and used in each round; None if no store failed."""
    if not any(record["failed"] for record in run.history):
        return None
    series = {
        name: [(record["round"], len(record[key])) for record in run.history]
        for name, key in (("asked", "sampled"), ("used", "stores"))
    }
    return line_chart(
        "Stores in a round",
        series,
        formatting.whole,
        format_tick=lambda value: f"{value:g}" if value == int(value) else "",
        from_zero=True,
    )


def failure_rows(run: RunData) -> list[FailureRow]:
    """Sum up failures of one kind at one store in one row, the most frequent first."""
    failures: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for record in run.history:
        for name, failure in record["failed"].items():
            failures.setdefault((name, failure["code"]), []).append(
                (record["round"], failure["reason"])
            )
    return [
        FailureRow(
            printable(name),
            formatting.FAILURES.get(code, printable(code)),
            printable(occurrences[-1][1]),
            formatting.rounds(round_number for round_number, _ in occurrences),
            len(occurrences),
        )
        for (name, code), occurrences in sorted(
            failures.items(), key=lambda item: (-len(item[1]), item[0])
        )
    ]


def settings(run: RunData) -> dict[str, list[Setting]]:
    """Return the configuration by section, each setting with its meaning from the schema."""
    rows = {
        section: [_setting(section, key, value) for key, value in values.items()]
        for section, values in run.config.items()
    }
    if weights := run.summary.get("initial_weights"):
        file = f"{printable(weights['source'])}, SHA-256 {printable(weights['sha256'])}"
        rows["model"].append(Setting("weights file", file, None, "what training began with"))
    return rows


def _setting(section: str, key: str, value: Any) -> Setting:
    default, meaning = _defaults_and_meanings(section).get(key, (None, ""))
    value = tuple(value) if isinstance(value, list) else value
    return Setting(
        key, _format_value(value), _format_value(default) if value != default else None, meaning
    )


def _defaults_and_meanings(section: str) -> dict[str, tuple[Any, str]]:
    """Return default and meaning of each setting of a section; nothing for an unknown section."""
    if section not in RunConfig.model_fields:
        return {}
    defaults: Section = RunConfig.model_fields[section].default
    fields = type(defaults).model_fields
    return {key: (getattr(defaults, key), field.description or "") for key, field in fields.items()}


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return printable(
        (", ".join(value) if isinstance(value, tuple) else value)
        or ("0" if value == 0 else "(empty)")
    )


def phases(run: RunData) -> list[Phase]:
    """Return the time spent in each phase; the rest is called other."""
    seconds = run.summary.get("seconds") or {}
    total = seconds.get("total")
    if not total:
        return []
    known = [(name, seconds.get(name) or 0.0) for name in RUN_PHASES]
    known.append(("other", max(0.0, total - sum(value for _, value in known))))
    return [
        Phase(
            name,
            f"{formatting.duration(value)} ({formatting.percent(value / total)})",
            value / total,
        )
        for name, value in known
    ]
