"""The classes in the picture of the stores' images: as many as colours can tell apart; the rest is
one layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.wording import printable
from fedshelf.server.report.charts.colours import OTHERS, TEN, class_colours

MAX_COLOURED_CLASSES = 20  # up to this many classes, each has a colour
MOST_OF_MANY = len(TEN)  # of more than that


@dataclass(frozen=True)
class ShownClasses:
    """The layers of a picture: their names and colours, and the images of each at every store
    (name, counts).

    hidden: number of classes in the last layer; 0 if each has a layer of its own
    """

    names: list[str]
    colours: list[str]
    stores: list[tuple[str, Sequence[int]]]
    hidden: int


def shown_classes(partition: Mapping[str, Any]) -> ShownClasses:
    """Return the layers of {"classes": [C], "stores": {name: [C counts]}}.

    Of many classes, those of which stores have most images get layers of their own.
    """
    classes = [printable(name) for name in partition["classes"]]
    stores: list[tuple[str, Sequence[int]]] = list(partition["stores"].items())
    if len(classes) <= MAX_COLOURED_CLASSES:
        return ShownClasses(classes, class_colours(len(classes)), stores, 0)
    kept = sorted(_most_frequent([counts for _, counts in stores], MOST_OF_MANY))
    hidden = len(classes) - len(kept)
    layered = [(name, _layered(counts, kept)) for name, counts in stores]
    names = [*(classes[place] for place in kept), f"{hidden} other classes"]
    return ShownClasses(names, [*class_colours(len(kept)), OTHERS], layered, hidden)


def _layered(counts: Sequence[int], kept: Sequence[int]) -> Sequence[int]:
    """Return the images of the classes that are kept, and of all others together."""
    held = [counts[place] for place in kept]
    return [*held, sum(counts) - sum(held)]


def _most_frequent(stores: Sequence[Sequence[int]], number: int) -> list[int]:
    """Return places of classes: first those that are the most frequent at some store, then the
    second ones, and so on.

    Within such a rank, those with the most images at the stores where they have it come first.
    """
    ranked = [
        sorted(range(len(counts)), key=lambda place: (-counts[place], place)) for counts in stores
    ]
    found: list[int] = []
    for places in zip(*ranked, strict=True):
        images: dict[int, int] = {}
        for place, counts in zip(places, stores, strict=True):
            if counts[place]:
                images[place] = images.get(place, 0) + counts[place]
        found += sorted(images.keys() - found, key=lambda place: (-images[place], place))
        if len(found) >= number:
            break
    return found[:number]
