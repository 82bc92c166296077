"""The classes in a picture of the stores' images: as many as colours can tell apart.

All others share one layer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.text import printable
from fedshelf.server.report.charts.colours import OTHER_COLOUR, TEN_COLOURS, class_colours

MAX_COLOURED_CLASSES = 20  # up to this many classes, each has a colour
MAX_LAYERS_OF_MANY = len(TEN_COLOURS)  # of more than that


@dataclass(frozen=True)
class ShownClasses:
    """The layers of a picture.

    Attributes:
        names:   names of the L layers
        colours: their colours
        stores:  name of each store, and its images in the L layers
        hidden:  number of classes in the last layer; 0 if each has a layer of its own
    """

    names: list[str]
    colours: list[str]
    stores: list[tuple[str, Sequence[int]]]
    hidden: int


def shown_classes(partition: Mapping[str, Any]) -> ShownClasses:
    """Return the layers of a partition.

    Of many classes, those of which stores have most images get layers of their own.

    Args:
        partition: {"classes": [C names], "stores": {name: [C image counts]}}
    """
    classes = [printable(name) for name in partition["classes"]]
    stores: list[tuple[str, Sequence[int]]] = list(partition["stores"].items())
    if len(classes) <= MAX_COLOURED_CLASSES:
        return ShownClasses(classes, class_colours(len(classes)), stores, 0)
    layer_classes = sorted(
        _most_frequent_classes([counts for _, counts in stores], MAX_LAYERS_OF_MANY)
    )
    hidden = len(classes) - len(layer_classes)
    layered = [(name, _merge_counts(counts, layer_classes)) for name, counts in stores]
    names = [*(classes[index] for index in layer_classes), f"{hidden} other classes"]
    return ShownClasses(names, [*class_colours(len(layer_classes)), OTHER_COLOUR], layered, hidden)


def _merge_counts(counts: Sequence[int], layer_classes: Sequence[int]) -> Sequence[int]:
    """Return the images of the classes with layers of their own, and of all others together."""
    layer_counts = [counts[index] for index in layer_classes]
    return [*layer_counts, sum(counts) - sum(layer_counts)]


def _most_frequent_classes(stores: Sequence[Sequence[int]], class_count: int) -> list[int]:
    """Return indices of classes: first those that are the most frequent at some store.

    Then come the second most frequent ones, and so on. Within such a rank, those with the most
    images at the stores where they have it come first.
    """
    ranked = [
        sorted(range(len(counts)), key=lambda class_index: (-counts[class_index], class_index))
        for counts in stores
    ]
    chosen: list[int] = []
    for class_indices in zip(*ranked, strict=True):
        images: dict[int, int] = {}
        for class_index, counts in zip(class_indices, stores, strict=True):
            if counts[class_index]:
                images[class_index] = images.get(class_index, 0) + counts[class_index]
        chosen += sorted(
            images.keys() - chosen, key=lambda class_index: (-images[class_index], class_index)
        )
        if len(chosen) >= class_count:
            break
    return chosen[:class_count]
