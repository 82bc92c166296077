"""Numbers and outcomes in plain words, the same on the console and on the page.

Every function takes None for "not known" and says so with a dash.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedshelf.common import wording
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list
from fedshelf.server.figure_names import (
    RIGHT_SCENES,
    SCENE_FIGURES,
    figure_title,
    main_figure,
)

UNKNOWN = "–"
_UNITS = re.compile(
    r"(?<=\d) (?=(?:ms|s|min|h|B|kB|MB|GB|TB|images/s|points)\b)"
    r"|(?<=\d min) (?=\d)|(?<=\d h) (?=\d)|(?<=\bclass) (?=\d)"
)

STATUS = {"finished": "Finished", "stopped": "Stopped", "failed": "Failed"}

FAILURES = {
    "data": "its photos could not be read",
    "unknown-class": "it has a product class that the run does not know",
    "no-images": "it had no images to work on",
    "out-of-memory": "its device ran out of memory",
    "disk-full": "its disk was full",
    "crashed": "its process died",
    "policy": "its policy did not allow it",
    "timeout": "it did not answer in time",
    "unavailable": "it could not be reached",
    "refused": "it declined to take part",
    "invalid": "its answer could not be used",
    "error": "something went wrong at the store",
    "withheld": "its policy withholds the reason",
    "secure-sum": "it did not take a step of the secure sum",
    "diverged": "its training diverged",
}


def class_name(name: str) -> str:
    """Return a class as it stands in a sentence; a number alone would read as a count: "27" ->
    "class 27".
    """
    return f"class {name}" if name.isdecimal() else name


def unbroken(text: str) -> str:
    """Hold numbers and their units on one line, by no-break spaces: "8 min 20 s", "12.3 MB"."""
    return _UNITS.sub("\N{NO-BREAK SPACE}", text)


def percent(share: float | None) -> str:
    """Write a share as a percentage: 0.8342 -> "83.4%"."""
    return UNKNOWN if share is None else f"{100 * share:.1f}%"


def points(share: float | None) -> str:
    """Write a difference of shares in points: 0.0342 -> "3.4 points"."""
    return UNKNOWN if share is None else f"{100 * share:.1f} points"


def decimal(value: float | None, digits: int = 3) -> str:
    """Write a number with a few digits: 1.23456 -> "1.235"; extremes in powers of ten.

    Args:
        value:  the number
        digits: digits after the decimal point
    """
    if value is None:
        return UNKNOWN
    return (
        f"{value:.{digits}f}"
        if value == 0 or 10**-digits <= abs(value) < 10_000
        else f"{value:.{digits}g}"
    )


def whole(value: float | None) -> str:
    """Write a number without decimals: 12345.6 -> "12,346"."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def duration(seconds: float | None) -> str:
    """Write a duration in seconds: 0.0123 -> "12 ms", 3.21 -> "3.2 s", 7500 -> "2 h 5 min"."""
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return wording.format_duration(seconds)


def size(byte_count: float | None) -> str:
    """Write bytes in decimal units: 12_345_678 -> "12.3 MB"."""
    if byte_count is None:
        return UNKNOWN
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if byte_count >= scale:
            return f"{byte_count / scale:.1f} {unit}"
    return f"{byte_count:.0f} B"


def rounds(round_numbers: Iterable[int], max_stretches: int = 8) -> str:
    """Write rounds as stretches: [1, 2, 3, 7] -> "1–3, 7".

    Args:
        round_numbers: the rounds, in any order
        max_stretches: stretches that are written; "…" stands for the others
    """
    stretches: list[list[int]] = []
    for round_number in sorted(set(round_numbers)):
        if stretches and round_number == stretches[-1][1] + 1:
            stretches[-1][1] = round_number
        else:
            stretches.append([round_number, round_number])
    texts = [
        f"{first}" if first == last else f"{first}–{last}"
        for first, last in stretches[:max_stretches]
    ]
    return ", ".join(texts) + (", …" if len(stretches) > max_stretches else "")


def describe_outcome(summary: Mapping[str, Any]) -> list[str]:
    """Describe a summary in a few sentences: the end, the model's quality, the speed."""
    lines = (
        _describe_end(summary), _describe_accuracy(summary), _describe_delivered_round(summary),
        describe_adjustment(summary.get("adjustment")), _describe_personal_layers(summary),
        _describe_old_classes(summary), _describe_forgotten(summary),
        describe_photo_privacy(summary), describe_store_privacy(summary), _describe_speed(summary),
    )  # fmt: skip
    return [line for line in lines if line]


def describe_photo_privacy(summary: Mapping[str, Any]) -> str:
    """Return a sentence on the noise that hides each photo; empty without noise."""
    if not (privacy := summary.get("photo_privacy")):
        return ""
    return (
        f"Differential privacy of a photo: epsilon {privacy['epsilon']:.3g} at delta"
        f" {privacy['delta']:g}, if its store trained in all rounds."
    )


def describe_store_privacy(summary: Mapping[str, Any]) -> str:
    """Return a sentence on the noise that hides each store in the model; empty without noise."""
    if not (privacy := summary.get("store_privacy")):
        return ""
    ratio = privacy["signal_to_noise"]
    is_drowned = ", so noise is most of what the model learned" if ratio < 1 else ""
    return (
        f"Differential privacy of a store: epsilon {privacy['epsilon']:.3g} at delta"
        f" {privacy['delta']:.2g}; signal to noise at most {ratio:.2g}{is_drowned}."
    )


def _describe_end(summary: Mapping[str, Any]) -> str:
    if not summary:
        return "Unfinished: the run is still going on, or was killed."
    status = STATUS.get(str(summary.get("status")), "Ended")
    line = (
        f"{status}: {format_count(summary.get('rounds') or 0, 'round')} with"
        f" {format_count(summary.get('stores') or 0, 'store')}"
    )
    if (total := (summary.get("seconds") or {}).get("total")) is not None:
        line += f" in {duration(total)}"
    reason = printable(summary.get("reason") or "").rstrip(".")
    return f"{line}. Reason: {reason}." if reason else f"{line}."


def _describe_accuracy(summary: Mapping[str, Any]) -> str:
    test = summary.get("test")
    best = summary.get("best")
    parts = []
    if test and main_figure(test) in SCENE_FIGURES:
        return _describe_scenes(test, summary.get("counting"))
    if right := RIGHT_SCENES.get(summary.get("objective", "")):
        return _describe_right_scenes(test, figure_title(right))
    if test and test.get("accuracy") is not None:
        where = "the server's" if test.get("on") == "server" else "the stores'"
        images = f"{test['images']:,} " if test.get("images") else ""
        parts.append(
            f"{percent(test['accuracy'])} accuracy{interval(test)} on {where} {images}test images"
        )
        if baseline := test.get("baseline"):
            name = printable(class_name(baseline["class"]))
            share = percent(baseline["accuracy"])
            parts.append(f"always naming their commonest class, {name}, would be right on {share}")
    if (
        best
        and best.get("accuracy") is not None
        and best["round"] != summary.get("delivered_round")
    ):
        where = "test images" if best.get("on") == "test" else "validation images"
        parts.append(f"best round {best['round']} with {percent(best['accuracy'])} on {where}")
    return _sentence(parts)


def _describe_scenes(test: Mapping[str, Any], counting: Mapping[str, Any] | None) -> str:
    """Return a sentence on a model for scenes.

    Args:
        test: figures on test photos
        counting: error of the number of products with the chosen threshold; None: not known
    """
    figures = SCENE_FIGURES[main_figure(test)]
    known = [f"{title} {percent(test[key])}" for key, title in figures.items() if key in test]
    where = "the server's" if test.get("on") == "server" else "the stores'"
    parts = [f"{', '.join(known)} on {where} {test['images']:,} test photos"]
    if counting and counting.get("count_error") is not None:
        parts.append(
            f"counting boxes from a score of {counting['threshold']:g} on is off by"
            f" {decimal(counting['count_error'], 1)} products a photo"
            f" ({percent(counting['count_share'])} of them)"
        )
    return _sentence(parts)


def _describe_right_scenes(test: Mapping[str, Any] | None, right: str) -> str:
    """Return a sentence on a model for scenes of which no more than this share is known.

    Noised counts and policies that tell the accuracy alone leave no more.

    Args:
        test: figures on test photos
        right: the photos that count as right, in words: "photos without a mistake"
    """
    if not test or test.get("accuracy") is None:
        return ""
    where = "the server's" if test.get("on") == "server" else "the stores'"
    photos = f"{test['images']:,} " if test.get("images") else ""
    share = f"share of {right}: {percent(test['accuracy'])}{interval(test)}"
    return _sentence([f"{share} on {where} {photos}test photos"])


def interval(test: Mapping[str, Any]) -> str:
    """Return the test accuracy's interval: " (95% interval 74.8 to 83.1%)"; empty if unknown."""
    if not (bounds := test.get("interval")):
        return ""
    return f" (95% interval {100 * bounds[0]:.1f} to {percent(bounds[1])})"


def _describe_delivered_round(summary: Mapping[str, Any]) -> str:
    """Name the round whose model is delivered, and why it is that one."""
    if summary.get("delivered_round") is None:
        return ""
    because = printable(summary["delivered_because"])
    delivered = (
        f"round {summary['delivered_round']} of {summary['rounds']}, {because}"
        if summary["delivered_round"]
        else f"the run that this one went on from, {because}"
    )
    is_of_scenes = (
        summary.get("objective") in RIGHT_SCENES or main_figure(summary.get("test")) != "accuracy"
    )
    is_told = is_best_delivered(summary) and not is_of_scenes
    accuracy = f" ({percent(summary['best']['accuracy'])} accuracy)" if is_told else ""
    return f"The model is that of {delivered}{accuracy}."


def is_best_delivered(summary: Mapping[str, Any]) -> bool:
    """Return whether the best round was delivered because it is the best.

    The best round may also be the delivered one because it is the last.
    """
    best = summary.get("best") or {}
    return (
        best.get("on") != "test" and best.get("round") == summary.get("delivered_round") is not None
    )


def describe_adjustment(adjustment: Mapping[str, Any] | None) -> str:
    """Describe by which scores the stores use the model, and the evidence for it.

    Args:
        adjustment: `adjustment` of the summary; None if there is only one way: then nothing is said
    """
    if not adjustment:
        return ""
    split = "test" if adjustment["test"] else "validation"
    validation = adjustment["validation"]
    adjusted_use = "add the logarithms of their own shares of the classes to the model's scores"
    if not (results := adjustment[split]):
        return (
            f"Stores {adjusted_use}, as in training; no validation images of theirs were judged"
            " that could"
            " speak against it."
        )
    adjusted, raw = (percent(results[way]["accuracy"]) for way in ("adjusted", "raw"))
    images = f"their {format_count(results['raw']['images'], f'{split} image')}"
    if adjustment["used"] == "raw":
        return (
            f"Stores use the model as it is: right on {raw} of {images}. With their own shares of"
            f" the classes in its scores it is right on {adjusted}, but the loss of their"
            f" validation images is higher ({_format_losses(validation)})."
        )
    reason = (
        f"; chosen for the lower loss on validation images, {_format_losses(validation)}"
        if validation
        else ""
    )
    return (
        f"Stores {adjusted_use}: so it is right on {adjusted} of {images}, as it is on"
        f" {raw}{reason}. At a"
        " store, flower-client export writes its own model."
    )


def _format_losses(results: Mapping[str, Any]) -> str:
    return f"{decimal(results['adjusted']['loss'])} against {decimal(results['raw']['loss'])}"


def _describe_personal_layers(summary: Mapping[str, Any]) -> str:
    """Describe what the model lacks if stores keep parts of it."""
    if not (names := summary.get("personal")):
        return ""
    count = format_count(len(names), "tensor")
    return (
        f"{count} of the model ({printable(names[0])}, ...) stay at the stores: each store has its"
        " own, and is evaluated with it. The model's file has their initial values; at a store,"
        " flower-client export writes a model with the store's own."
    )


def _describe_forgotten(summary: Mapping[str, Any]) -> str:
    """Name the stores whose sums were taken out of the model, and when."""
    if not (forgotten := summary.get("forgotten")):
        return ""
    stores = [f"{printable(store)} ({when[:10]})" for store, when in sorted(forgotten.items())]
    return f"The model has nothing of {format_list(stores)}, as a person asked."


def _describe_old_classes(summary: Mapping[str, Any]) -> str:
    """Describe the old classes before and after a run that went on from a finished model."""
    if not (old_classes := summary.get("old_classes")) or old_classes["after"] is None:
        return ""
    before = (
        ""
        if old_classes["before"] is None
        else f"{percent(old_classes['before'])} accuracy before this run and "
    )
    where = "the server's" if old_classes["on"] == "server" else "the stores'"
    line = (
        f"Old classes ({len(old_classes['classes'])}): {before}{percent(old_classes['after'])}"
        f" after it, measured on {where} {whole(old_classes['images'])} test images of them"
    )
    new = (
        ""
        if old_classes["new_after"] is None
        else f"; new ones ({len(old_classes['new'])}): {percent(old_classes['new_after'])}"
    )
    return f"{line}{new}."


def _describe_speed(summary: Mapping[str, Any]) -> str:
    parts = []
    if summary.get("images_per_second"):
        parts.append(f"{whole(summary['images_per_second'])} training images a second")
    if traffic := summary.get("bytes"):
        parts.append(
            f"{size(traffic.get('down'))} sent to the stores and {size(traffic.get('up'))} received"
        )
    return _sentence(parts)


def _sentence(parts: list[str]) -> str:
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""
