"""Geometry of the reliability diagrams: how often a model is right at each level of its
confidence.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedshelf.common.metrics.calibration import GRID, MIN_CALIBRATION_IMAGES
from fedshelf.common.wording import format_count
from fedshelf.server.formatting import decimal, percent, points
from fedshelf.server.report.charts.line_chart import BOX


@dataclass(frozen=True)
class Step:
    """One bin of confidence, in box units; `share` (0..1) is relative to the images of the fullest
    bin.

    top, height:  the bar of the smaller of confidence and accuracy
    gap_top, gap: the difference of the two
    kind: "over" if the model was surer than right, else "under"
    """

    x: int
    width: int
    top: int
    height: int
    gap_top: int
    gap: int
    kind: str
    share: float
    tip: str


@dataclass(frozen=True)
class ReliabilityChart:
    """The diagram of Guo et al. (2017), Figure 1, with its summary in words."""

    title: str
    remark: str
    steps: list[Step]


@dataclass(frozen=True)
class Trust:
    """Calibration of the model: sentences, and diagrams with and without its temperature."""

    told: list[str]
    charts: list[ReliabilityChart]


def trust(calibration: Mapping[str, Any] | None) -> Trust | None:
    """Lay out `calibration` of `evaluation.json`; None if nothing is known."""
    if not calibration or not calibration.get("bins") or calibration["unscaled"]["ece"] is None:
        return None
    plain = calibration["unscaled"]
    scaled = calibration.get("scaled")
    charts = [_chart("As trained", plain, calibration["bins"])]
    if scaled and calibration.get("bins_scaled"):
        charts.append(
            _chart(
                f"Temperature {decimal(calibration['temperature'], 2)}",
                scaled,
                calibration["bins_scaled"],
            )
        )
    return Trust([_how_sure(plain, calibration), _how_scaled(plain, scaled, calibration)], charts)


def _how_sure(plain: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    over = plain["confidence"] - plain["accuracy"]
    verdict = "neither too sure nor too unsure in the mean"
    if abs(over) >= 0.01:
        verdict = f"{'over' if over > 0 else 'under'}confident by {points(abs(over))}"
    where = "the server's" if calibration.get("on") == "server" else "the stores'"
    return (
        f"On {where} {format_count(calibration['images'], 'test image')} the model is"
        f" {percent(plain['confidence'])} sure in the mean and right on"
        f" {percent(plain['accuracy'])}: {verdict}. Step by step its confidence is off by"
        f" {points(plain['ece'])} (the expected calibration error, ECE)."
    )


def _how_scaled(
    plain: Mapping[str, Any], scaled: Mapping[str, Any] | None, calibration: Mapping[str, Any]
) -> str:
    if not scaled or scaled["ece"] is None:
        return _why_not_scaled(calibration.get("fitted_on") or 0)
    between = ""
    if interval := calibration.get("interval"):
        between = f" (95% interval {decimal(interval[0], 2)} to {decimal(interval[1], 2)})"
    found = (
        f"Its scores divided by the temperature {decimal(calibration['temperature'], 2)}{between},"
        f" which was fitted on {format_count(calibration['fitted_on'], 'validation image')}, give"
        f" confidences that are off by {points(scaled['ece'])}"
    )
    if scaled["ece"] < plain["ece"]:
        return f"{found}. What the model takes a photo for stays the same."
    return f"{found}: no better than without, on these images."


def _why_not_scaled(fitted_on: int) -> str:
    """Say why there is no temperature after this number of validation images."""
    if not fitted_on:
        return (
            "No temperature was fitted, as that takes validation images: stores with photos of"
            " their own hold some out; in a simulation data.holdout = 0.1 does."
        )
    if fitted_on < MIN_CALIBRATION_IMAGES:
        images = format_count(fitted_on, "validation image")
        return (
            f"No temperature was fitted: {images} are too few, it takes {MIN_CALIBRATION_IMAGES}."
        )
    between = f"{decimal(GRID[0], 2)} and {decimal(GRID[-1], 0)}"
    return (
        f"No temperature was fitted: for the {format_count(fitted_on, 'validation image')} none"
        f" between {between} is the likeliest, as where the model is right about all of them."
    )


def _chart(title: str, told: Mapping[str, Any], bins: list[dict[str, Any]]) -> ReliabilityChart:
    fullest = max((each["images"] for each in bins), default=0) or 1
    steps = [_step(each, fullest) for each in bins if each["images"]]
    return ReliabilityChart(title, f"off by {points(told['ece'])}", steps)


def _step(found: Mapping[str, Any], fullest: int) -> Step:
    right = found["right"] / found["images"]
    sure = found["confidence"] or 0.0
    x = round(BOX * found["from"])
    end = round(BOX * found["to"])
    low = round(BOX * (1 - min(right, sure)))
    high = round(BOX * (1 - max(right, sure)))
    tip = (
        f"{format_count(found['images'], 'image')} of which it was {percent(sure)} sure:"
        f" right on {percent(right)} ({found['right']:,})"
    )
    kind = "over" if sure > right else "under"
    return Step(
        x + 4, end - x - 8, low, BOX - low, high, low - high, kind, found["images"] / fullest, tip
    )
