"""A difference between two kinds of models in words.

A gain in JSON is `clear` or not. With one seed `clear` is None, and the gain is reported as the
result of that run.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fedshelf.common.wording import format_list

NamedGain = Mapping[str, Any]
MOST_SEEDS = 6  # whose gains are listed one by one


def points(value: float) -> str:
    """Format 12.3 as "12 points", 1.04 as "1 point", 0.52 as "0.5 points"."""
    rounded = round(abs(value)) if abs(value) >= 1.95 else round(abs(value), 1)
    return f"{rounded:g} {'point' if rounded == 1 else 'points'}"


def is_sure(gain: NamedGain) -> bool:
    """Return whether a difference is clear.

    With one seed, return whether it exceeds the margin of its test images.
    """
    return (
        bool(gain["clear"]) if gain["clear"] is not None else abs(gain["points"]) > gain["margin"]
    )


def change(gain: NamedGain) -> str:
    """Say how much a store gains or loses.

    It is "would clearly gain 5 points", or "gained 5 points" with one seed.
    """
    past = gain["clear"] is None
    if _is_nothing(gain):
        return "neither gained nor lost" if past else "would neither gain nor lose"
    clearly = "clearly " if gain["clear"] else ""
    verb = ("gained" if past else "gain") if gain["points"] > 0 else ("lost" if past else "lose")
    return f"{'' if past else 'would '}{clearly}{verb} {points(gain['points'])}"


def chance(gain: NamedGain) -> str:
    """Return a remark on a difference that may be due to chance."""
    if gain["clear"] is None:
        return (
            "" if is_sure(gain) or _is_nothing(gain) else " (within the margin of its test images)"
        )
    return "" if gain["clear"] else " (which may be chance)"


def difference(gain: NamedGain) -> str:
    """Return a difference with its margin: "5 points more (give or take 3 points)"."""
    more = "more" if gain["points"] >= 0 else "less"
    images = ", by its test images alone" if gain["clear"] is None else ""
    return f"{points(gain['points'])} {more} (give or take {points(gain['margin'])}{images})"


def each_seed(gains: Sequence[float]) -> str:
    """Return the points of each seed; with many seeds, the least and the largest."""
    if len(gains) > MOST_SEEDS:
        return f"from {min(gains):+.1f} to {max(gains):+.1f}"
    return format_list([f"{gain:+.1f}" for gain in gains])


def _is_nothing(gain: NamedGain) -> bool:
    return bool(round(abs(gain["points"]), 1) == 0)
