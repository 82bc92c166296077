"""Geometry of the partition picture: one column per store, one colour per class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedshelf.common.wording import format_count, printable
from fedshelf.server.report.charts.line_chart import BOX, Tick, nice_ticks
from fedshelf.server.report.charts.shown_classes import ShownClasses, shown_classes

COLUMN = 10  # units from one column to the next
MAX_BARS = 12_000  # keeps the page small
MAX_STORES_DRAWN = 300
MAX_NAMED_STORES = 12  # up to this many stores, there is room for their names


@dataclass(frozen=True)
class Layer:
    """One class in all columns: its name, images in all stores, colour and outline."""

    name: str
    images: int
    colour: str
    path: str


@dataclass(frozen=True)
class Stacks:
    """Stacked columns in a box `width` x BOX units.

    columns: the stores shown, with their images in words
    hidden:  number of classes that share the last layer
    """

    width: int
    total_stores: int
    layers: list[Layer]
    columns: list[tuple[str, str]]
    y_ticks: list[Tick]
    named: bool
    hidden: int


def stacks(partition: Mapping[str, Any]) -> Stacks | None:
    """Lay out {"classes": [C], "stores": {name: [C counts]}}; of very many stores, evenly chosen
    ones are shown.
    """
    classes: list[str] = [printable(name) for name in partition["classes"]]
    everyone: Mapping[str, Sequence[int]] = partition["stores"]
    layers = shown_classes(partition)
    shown = chosen(layers.stores, min(MAX_STORES_DRAWN, MAX_BARS // max(1, len(layers.names))))
    if not shown or not any(sum(counts) for _, counts in shown):
        return None
    ticks = nice_ticks(0, max(sum(counts) for _, counts in shown))
    return Stacks(
        width=COLUMN * len(shown),
        total_stores=len(everyone),
        layers=_layers(layers, shown, ticks[-1]),
        columns=[
            (printable(name), _described(printable(name), classes, everyone[name]))
            for name, _ in shown
        ],
        y_ticks=[Tick(100 - 100 * tick / ticks[-1], f"{tick:,.0f}") for tick in ticks],
        named=len(shown) <= MAX_NAMED_STORES,
        hidden=layers.hidden,
    )


def chosen(stores: Sequence[tuple[str, Any]], most: int) -> list[tuple[str, Any]]:
    """Return all stores, or `most` of them at even distances."""
    number = min(len(stores), most)
    return [stores[index * len(stores) // number] for index in range(number)]


def _layers(
    classes: ShownClasses, shown: list[tuple[str, Sequence[int]]], top: float
) -> list[Layer]:
    bar = COLUMN - (1 if len(shown) > 60 else 2)
    base = [0] * len(shown)
    layers = []
    for index, (name, colour) in enumerate(zip(classes.names, classes.colours, strict=True)):
        path = ""
        for place, (_, counts) in enumerate(shown):
            upper, lower = (
                round(BOX - BOX * edge / top) for edge in (base[place] + counts[index], base[place])
            )
            if upper < lower:
                path += f"M{place * COLUMN + 1} {upper}h{bar}V{lower}h-{bar}z"
            base[place] += counts[index]
        layers.append(Layer(name, sum(counts[index] for _, counts in classes.stores), colour, path))
    return layers


def _described(store: str, classes: list[str], counts: Sequence[int], most: int = 6) -> str:
    held = sorted(
        ((count, name) for count, name in zip(counts, classes, strict=True) if count), reverse=True
    )
    named = ", ".join(f"{name} {count:,}" for count, name in held[:most])
    more = f" and {len(held) - most} more classes" if len(held) > most else ""
    return f"{store}: {format_count(sum(counts), 'image')}" + (f" ({named}{more})" if held else "")
