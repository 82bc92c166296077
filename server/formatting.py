"""Numbers and outcomes in plain words, the same on the console and on the page.

Every function takes None for "not known" and says so with a dash.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fedshelf.common import wording
from fedshelf.common.wording import format_count, printable

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
}


def class_name(name: str) -> str:
    """Return a class as it stands in a sentence; a number alone would read as a count: "27" ->
    "class 27".
    """
    return f"class {name}" if name.isdecimal() else name


def unbroken(text: str) -> str:
    """Hold numbers and their units on one line: with no-break spaces in "8 min 20 s" and "12.3
    MB".
    """
    return _UNITS.sub("\N{NO-BREAK SPACE}", text)


def percent(share: float | None) -> str:
    """Write a share as a percentage: 0.8342 -> "83.4%"."""
    return UNKNOWN if share is None else f"{100 * share:.1f}%"


def points(share: float | None) -> str:
    """Write a difference of shares in points: 0.0342 -> "3.4 points"."""
    return UNKNOWN if share is None else f"{100 * share:.1f} points"


def decimal(value: float | None, digits: int = 3) -> str:
    """Write a number with a few digits: 1.23456 -> "1.235"; large and tiny values in powers of
    ten.
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
    """Write a duration: 0.0123 -> "12 ms", 3.21 -> "3.2 s", 192 -> "3 min 12 s", 7500 -> "2 h 5
    min".
    """
    if seconds is None:
        return UNKNOWN
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    return wording.format_duration(seconds)


def size(number: float | None) -> str:
    """Write bytes in decimal units: 12_345_678 -> "12.3 MB"."""
    if number is None:
        return UNKNOWN
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= scale:
            return f"{number / scale:.1f} {unit}"
    return f"{number:.0f} B"


def rounds(numbers: Iterable[int], most: int = 8) -> str:
    """Write rounds as stretches: [1, 2, 3, 7] -> "1–3, 7"; after `most` stretches the rest is only
    announced.
    """
    stretches: list[list[int]] = []
    for number in sorted(set(numbers)):
        if stretches and number == stretches[-1][1] + 1:
            stretches[-1][1] = number
        else:
            stretches.append([number, number])
    named = [f"{first}" if first == last else f"{first}–{last}" for first, last in stretches[:most]]
    return ", ".join(named) + (", …" if len(stretches) > most else "")


def outcome(summary: Mapping[str, Any]) -> list[str]:
    """Tell a summary in a few sentences: what happened, how good the model is, how fast it went."""
    lines = (
        _what_happened(summary), _how_good(summary), _which_round(summary),
        how_used(summary.get("adjustment")), _what_stays(summary), _what_grew(summary),
        _how_fast(summary),
    )  # fmt: skip
    return [line for line in lines if line]


def _what_happened(summary: Mapping[str, Any]) -> str:
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


def _how_good(summary: Mapping[str, Any]) -> str:
    test = summary.get("test")
    best = summary.get("best")
    parts = []
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


def interval(test: Mapping[str, Any]) -> str:
    """Return the test accuracy's interval: " (95% interval 74.8 to 83.1%)"; empty if it is not
    known.
    """
    if not (found := test.get("interval")):
        return ""
    return f" (95% interval {100 * found[0]:.1f} to {percent(found[1])})"


def _which_round(summary: Mapping[str, Any]) -> str:
    """Tell the round whose model is delivered, and why it is that one."""
    if summary.get("delivered_round") is None:
        return ""
    which = (
        f"round {summary['delivered_round']} of {summary['rounds']},"
        f" {printable(summary['delivered_because'])}"
    )
    found = (
        f" ({percent(summary['best']['accuracy'])} accuracy)" if is_best_delivered(summary) else ""
    )
    return f"The model is that of {which}{found}."


def is_best_delivered(summary: Mapping[str, Any]) -> bool:
    """Return whether the best round was delivered because it is the best, and not because it is the
    last.
    """
    best = summary.get("best") or {}
    return (
        best.get("on") != "test" and best.get("round") == summary.get("delivered_round") is not None
    )


def how_used(adjustment: Mapping[str, Any] | None) -> str:
    """Tell by which scores the stores use the model, and what their images say of both; nothing if
    there is one way.
    """
    if not adjustment:
        return ""
    on = "test" if adjustment["test"] else "validation"
    validation = adjustment["validation"]
    adds = "add the logarithms of their own shares of the classes to the model's scores"
    if not (found := adjustment[on]):
        return (
            f"Stores {adds}, as in training; no validation images of theirs were judged that could"
            " speak against it."
        )
    adjusted, raw = (percent(found[way]["accuracy"]) for way in ("adjusted", "raw"))
    images = f"their {format_count(found['raw']['images'], f'{on} image')}"
    if adjustment["used"] == "raw":
        return (
            f"Stores use the model as it is: right on {raw} of {images}. With their own shares of"
            f" the classes in its scores it is right on {adjusted}, but the loss of their"
            f" validation images is higher ({_losses(validation)})."
        )
    why = (
        f"; chosen for the lower loss on validation images, {_losses(validation)}"
        if validation
        else ""
    )
    return (
        f"Stores {adds}: so it is right on {adjusted} of {images}, as it is on {raw}{why}. At a"
        " store, flower-client export writes its own model."
    )


def _losses(found: Mapping[str, Any]) -> str:
    return f"{decimal(found['adjusted']['loss'])} against {decimal(found['raw']['loss'])}"


def _what_stays(summary: Mapping[str, Any]) -> str:
    """Tell what the model lacks if stores keep parts of it."""
    if not (names := summary.get("personal")):
        return ""
    count = format_count(len(names), "tensor")
    return (
        f"{count} of the model ({printable(names[0])}, ...) stay at the stores, which are judged"
        " each with its own; in the model's file they are as before round 1. At a store,"
        " flower-client export puts in its own."
    )


def _what_grew(summary: Mapping[str, Any]) -> str:
    """Tell of a run that went on from a finished model: the old classes before and after, and the
    new ones.
    """
    if not (found := summary.get("old_classes")) or found["after"] is None:
        return ""
    before = "" if found["before"] is None else f"{percent(found['before'])} before this run and "
    where = "the server's" if found["on"] == "server" else "the stores'"
    line = (
        f"Old classes ({len(found['classes'])}): {before}{percent(found['after'])} after it are"
        " told rightly"
    )
    line += f", of {where} {whole(found['images'])} test images of them"
    new = (
        ""
        if found["new_after"] is None
        else f"; new ones ({len(found['new'])}): {percent(found['new_after'])}"
    )
    return f"{line}{new}."


def _how_fast(summary: Mapping[str, Any]) -> str:
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
