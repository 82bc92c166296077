"""Geometry of the reliability diagrams: how often a model is right at each level of confidence."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedshelf.common.metrics.calibration import MIN_CALIBRATION_IMAGES, TEMPERATURES, UNKNOWN_SHARE
from fedshelf.common.wording import format_count
from fedshelf.server.formatting import decimal, percent, points
from fedshelf.server.report.charts.line_chart import BOX_UNITS


@dataclass(frozen=True)
class Step:
    """One bin of confidence, in box units.

    Attributes:
        x:       left edge
        width:   width
        top:     top of the bar of the smaller of confidence and accuracy
        height:  height of that bar
        gap_top: top of the bar of their difference
        gap:     height of that bar
        kind:    "over" if the model was surer than right, else "under"
        share:   images relative to those of the fullest bin (0..1)
        tip:     tooltip
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
class Calibration:
    """Calibration of the model: sentences, and diagrams with and without its temperature."""

    sentences: list[str]
    charts: list[ReliabilityChart]


def calibration_charts(calibration: Mapping[str, Any] | None) -> Calibration | None:
    """Lay out `calibration` of `evaluation.json`; None if nothing is known."""
    if not calibration or not calibration.get("bins") or calibration["unscaled"]["ece"] is None:
        return None
    unscaled = calibration["unscaled"]
    scaled = calibration.get("scaled")
    charts = [_chart("As trained", unscaled, calibration["bins"])]
    if scaled and calibration.get("bins_scaled"):
        charts.append(
            _chart(
                f"Temperature {decimal(calibration['temperature'], 2)}",
                scaled,
                calibration["bins_scaled"],
            )
        )
    sentences = [
        _describe_confidence(unscaled, calibration),
        _describe_temperature(unscaled, scaled, calibration),
    ]
    # an earlier version's run has no threshold
    if calibration.get("energy_threshold") is not None:
        sentences.append(_describe_unknown(calibration))
    return Calibration(sentences, charts)


def _describe_confidence(unscaled: Mapping[str, Any], calibration: Mapping[str, Any]) -> str:
    over = unscaled["confidence"] - unscaled["accuracy"]
    verdict = "neither too sure nor too unsure in the mean"
    if abs(over) >= 0.01:
        verdict = f"{'over' if over > 0 else 'under'}confident by {points(abs(over))}"
    where = "the server's" if calibration.get("on") == "server" else "the stores'"
    return (
        f"On {where} {format_count(calibration['images'], 'test image')} the model is"
        f" {percent(unscaled['confidence'])} sure in the mean and right on"
        f" {percent(unscaled['accuracy'])}: {verdict}. Step by step its confidence is off by"
        f" {points(unscaled['ece'])} (the expected calibration error, ECE)."
    )


def _describe_temperature(
    unscaled: Mapping[str, Any], scaled: Mapping[str, Any] | None, calibration: Mapping[str, Any]
) -> str:
    if not scaled or scaled["ece"] is None:
        return _explain_no_temperature(calibration.get("fitted_on") or 0)
    interval_words = ""
    if interval := calibration.get("interval"):
        interval_words = f" (95% interval {decimal(interval[0], 2)} to {decimal(interval[1], 2)})"
    sentence = (
        "Its scores divided by the temperature"
        f" {decimal(calibration['temperature'], 2)}{interval_words},"
        f" which was fitted on {format_count(calibration['fitted_on'], 'validation image')}, give"
        f" confidences that are off by {points(scaled['ece'])}"
    )
    if scaled["ece"] < unscaled["ece"]:
        return f"{sentence}. The predicted classes stay the same."
    return f"{sentence}: no better than without, on these images."


def _describe_unknown(calibration: Mapping[str, Any]) -> str:
    return (
        f"{percent(calibration['unknown'])} of the test photos would be called unknown: the energy"
        " of their scores (the logarithm of the sum of the scores' exponentials) is below"
        f" {decimal(calibration['energy_threshold'], 2)}, as it is for {percent(UNKNOWN_SHARE)} of"
        f" the {format_count(calibration['fitted_on'], 'validation image')}."
    )


def _explain_no_temperature(fitted_on: int) -> str:
    """Say why there is no temperature after this number of validation images."""
    if not fitted_on:
        return (
            "No temperature was fitted, because that needs validation images: stores with"
            " photos of their own hold some out; in a simulation, set data.holdout=0.1."
        )
    if fitted_on < MIN_CALIBRATION_IMAGES:
        images = format_count(fitted_on, "validation image")
        return (
            f"No temperature was fitted: {images} are too few, {MIN_CALIBRATION_IMAGES} are needed."
        )
    range_words = f"{decimal(TEMPERATURES[0], 2)} and {decimal(TEMPERATURES[-1], 0)}"
    return (
        f"No temperature was fitted: for the {format_count(fitted_on, 'validation image')} no"
        f" temperature between {range_words} is the likeliest, for example because the model is"
        " right about all of them."
    )


def _chart(title: str, measures: Mapping[str, Any], bins: list[dict[str, Any]]) -> ReliabilityChart:
    fullest = max((confidence_bin["images"] for confidence_bin in bins), default=0) or 1
    steps = [_step(confidence_bin, fullest) for confidence_bin in bins if confidence_bin["images"]]
    return ReliabilityChart(title, f"off by {points(measures['ece'])}", steps)


def _step(confidence_bin: Mapping[str, Any], fullest: int) -> Step:
    accuracy = confidence_bin["right"] / confidence_bin["images"]
    confidence = confidence_bin["confidence"] or 0.0
    x = round(BOX_UNITS * confidence_bin["from"])
    end = round(BOX_UNITS * confidence_bin["to"])
    low = round(BOX_UNITS * (1 - min(accuracy, confidence)))
    high = round(BOX_UNITS * (1 - max(accuracy, confidence)))
    tip = (
        f"{format_count(confidence_bin['images'], 'image')} of which it was {percent(confidence)}"
        " sure:"
        f" right on {percent(accuracy)} ({confidence_bin['right']:,})"
    )
    kind = "over" if confidence > accuracy else "under"
    return Step(
        x + 4,
        end - x - 8,
        low,
        BOX_UNITS - low,
        high,
        low - high,
        kind,
        confidence_bin["images"] / fullest,
        tip,
    )
