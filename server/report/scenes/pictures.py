"""Test photos with what the model found, missed and made up, as the page shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.wording import format_count
from fedshelf.server.formatting import percent

GROUPS = {"worst": "The worst", "middle": "In the middle", "best": "The best"}
KINDS = ("found", "missed", "wrong")  # in the order in which they are drawn


@dataclass(frozen=True)
class PhotoView:
    """A photo with what is drawn on it.

    Attributes:
        photo:   address that holds the JPEG file
        side:    of the coordinates of `paths`
        paths:   SVG path data of the boxes, by kind
        overlay: address that holds a picture of the pixels, or None
        alt:     the photo in words
        caption: the outcome in short
    """

    photo: str
    side: int
    paths: dict[str, str]
    overlay: str | None
    alt: str
    caption: str


@dataclass(frozen=True)
class Pictures:
    """Photos by group, with the rule by which they were chosen.

    Attributes:
        task:   boxes or masks
        groups: (title, photos)
        rule:   in words
    """

    task: str
    groups: list[tuple[str, list[PhotoView]]]
    rule: str


def pictures(content: Mapping[str, Any] | None) -> Pictures | None:
    """Return the photos to show.

    Args:
        content: of the run's file of test scenes; None: it has none
    """
    if not content or not content["examples"]:
        return None
    examples = content["examples"]
    groups = [
        (title, [_view(example) for example in examples if example["group"] == group])
        for group, title in GROUPS.items()
    ]
    are_boxes = content["task"] == "boxes"
    measure = (
        f"F1 of the boxes from a score of {content['threshold']:g} on" if are_boxes else "mean IoU"
    )
    rule = (
        f"Of the server's {format_count(content['photos'], 'test photo')}, those with the lowest"
        f" {measure}, those nearest to its median, and those with the highest"
    )
    rule += (
        "; of equal ones those with most mistakes, or for the best with most products."
        if are_boxes
        else "."
    )
    return Pictures(content["task"], [group for group in groups if group[1]], rule)


def _view(example: Mapping[str, Any]) -> PhotoView:
    boxes = example.get("boxes") or {}
    name = f"Test photo {example['place'] + 1}"
    if boxes:
        outcome = ", ".join(
            f"{example[key]} {kind}" for key, kind in zip(("right", *KINDS[1:]), KINDS, strict=True)
        )
        alt = f"{name}: {format_count(example['right'], 'product')} found, {example['missed']}"
        alt += f" missed, {format_count(example['wrong'], 'wrong box', 'wrong boxes')}"
    else:
        outcome = f"mean IoU {percent(example['quality'])}"
        whole = example["side"] ** 2
        alt = f"{name}: {outcome}; of its pixels " + ", ".join(
            f"{percent(example[key] / whole)} are {words}"
            for key, words in (
                ("right", "products that are found"),
                ("missed", "products that are missed"),
                ("wrong", "wrongly taken for products"),
            )
        )
    paths = {kind: _outlines(boxes[kind]) for kind in KINDS if boxes.get(kind)}
    return PhotoView(example["photo"], example["side"], paths, example.get("overlay"), alt, outcome)


def _outlines(boxes: Sequence[Sequence[float]]) -> str:
    """Return SVG path data of boxes (left, top, right and bottom edge)."""
    return "".join(
        f"M{left:g} {top:g}H{right:g}V{bottom:g}H{left:g}z" for left, top, right, bottom in boxes
    )
