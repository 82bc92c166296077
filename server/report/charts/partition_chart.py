"""Geometry of the partition picture: one column per store, one colour per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server.report.charts.line_chart import BOX_UNITS, Tick, nice_ticks
from fedshelf.server.report.charts.shown_classes import ShownClasses, shown_classes

COLUMN_UNITS = 10  # units from one column to the next
MAX_BARS = 12_000  # keeps the page small
MAX_STORES_DRAWN = 300
MAX_NAMED_STORES = 12  # up to this many stores, there is room for their names


@dataclass(frozen=True)
class Layer:
    """One class in all columns.

    Attributes:
        name:   its name
        images: its images in all stores
        colour: its colour
        path:   its outline, as SVG path data
    """

    name: str
    images: int
    colour: str
    path: str


@dataclass(frozen=True)
class PartitionChart:
    """Stacked columns, one per store, in a box of `width` x BOX_UNITS units.

    Attributes:
        width:        width of the box
        total_stores: number of stores, shown or not
        layers:       the classes
        columns:      name and tooltip of the stores shown
        y_ticks:      ticks of the axis of images
        named:        True if there is room for the stores' names
        hidden:       number of classes that share the last layer
    """

    width: int
    total_stores: int
    layers: list[Layer]
    columns: list[tuple[str, str]]
    y_ticks: list[Tick]
    named: bool
    hidden: int


def partition_chart(partition: Mapping[str, Any]) -> PartitionChart | None:
    """Lay out the images per store and class; of very many stores, evenly chosen ones are shown.

    Args:
        partition: {"classes": [C names], "stores": {name: [C image counts]}}

    Returns:
        The chart; None if no store has an image.
    """
    classes: list[str] = [printable(name) for name in partition["classes"]]
    counts_by_store: Mapping[str, Sequence[int]] = partition["stores"]
    layers = shown_classes(partition)
    shown = choose_evenly(
        layers.stores, min(MAX_STORES_DRAWN, MAX_BARS // max(1, len(layers.names)))
    )
    if not shown or not any(sum(counts) for _, counts in shown):
        return None
    ticks = nice_ticks(0, max(sum(counts) for _, counts in shown))
    return PartitionChart(
        width=COLUMN_UNITS * len(shown),
        total_stores=len(counts_by_store),
        layers=_layers(layers, shown, ticks[-1]),
        columns=[
            (printable(name), _describe_store(printable(name), classes, counts_by_store[name]))
            for name, _ in shown
        ],
        y_ticks=[Tick(100 - 100 * tick / ticks[-1], f"{tick:,.0f}") for tick in ticks],
        named=len(shown) <= MAX_NAMED_STORES,
        hidden=layers.hidden,
    )


def choose_evenly(stores: Sequence[tuple[str, Any]], max_stores: int) -> list[tuple[str, Any]]:
    """Return all stores, or `max_stores` of them at even distances."""
    shown_count = min(len(stores), max_stores)
    return [stores[index * len(stores) // shown_count] for index in range(shown_count)]


def _layers(
    classes: ShownClasses, shown: list[tuple[str, Sequence[int]]], top: float
) -> list[Layer]:
    bar = COLUMN_UNITS - (1 if len(shown) > 60 else 2)
    base = [0] * len(shown)
    layers = []
    for index, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True)):
        path = ""
        for column, (_, counts) in enumerate(shown):
            upper, lower = (
                round(BOX_UNITS - BOX_UNITS * edge / top)
                for edge in (base[column] + counts[index], base[column])
            )
            if upper < lower:
                path += f"M{column * COLUMN_UNITS + 1} {upper}h{bar}V{lower}h-{bar}z"
            base[column] += counts[index]
        layers.append(Layer(name, sum(counts[index] for _, counts in classes.stores), colour, path))
    return layers


def _describe_store(
    store: str, classes: list[str], counts: Sequence[int], max_named: int = 6
) -> str:
    counts_by_class = sorted(
        ((count, name) for count, name in zip(counts, classes, strict=True) if count), reverse=True
    )
    named = ", ".join(f"{name} {count:,}" for count, name in counts_by_class[:max_named])
    more = (
        f" and {len(counts_by_class) - max_named} more classes"
        if len(counts_by_class) > max_named
        else ""
    )
    return f"{store}: {format_count(sum(counts), 'image')}" + (
        f" ({named}{more})" if counts_by_class else ""
    )
