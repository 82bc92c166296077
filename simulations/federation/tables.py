"""The partition table: the number of images of each class at each store."""

from statistics import median

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fedshelf.common.classes.display_names import ProductNames, display_name
from fedshelf.common.classes.spelling import reading_order
from fedshelf.common.text import printable
from fedshelf.simulations.federation.federation import Federation

MAX_LISTED_STORES = 20


def partition_table(federation: Federation, names: ProductNames, width: int) -> Table:
    """Return the training images per store and class, or a summary if that would not fit `width`
    characters.

    names: product names of the classes
    """
    if len(federation.table) > MAX_LISTED_STORES:
        return _summary(federation)
    if federation.are_scenes:
        return _of_scenes(federation)
    order = reading_order(federation.classes)
    classes = [printable(display_name(names, label)) for label in federation.classes]
    table = _table(
        "Training images", "store", *(classes[class_index] for class_index in order), "all"
    )
    for name, counts in federation.table.items():
        held = (str(counts[class_index]) if counts[class_index] else "·" for class_index in order)
        table.add_row(name, *held, str(sum(counts)))
    unbounded = Console(width=10_000)
    fits = Measurement.get(unbounded, unbounded.options, table).maximum <= width
    return table if fits else _by_store(federation, classes)


def _of_scenes(federation: Federation) -> Table:
    """Return one line per store: its photos show products of any class."""
    table = _table("Training photos", "store", "photos")
    for name, counts in federation.table.items():
        table.add_row(name, str(sum(counts)))
    return table


def _by_store(federation: Federation, classes: list[str]) -> Table:
    """Return one line per store, if there are too many classes for columns."""
    table = _table("Training images", "store", "images", "classes", "largest class", "its images")
    for name, counts in federation.table.items():
        largest = max(range(len(counts)), key=counts.__getitem__)
        held = sum(count > 0 for count in counts)
        table.add_row(
            name, str(sum(counts)), str(held), Text(classes[largest]), str(counts[largest])
        )
    return table


def _summary(federation: Federation) -> Table:
    """Return least, median and most over the stores."""
    rows = list(federation.table.values())
    measures = {
        "images": [sum(counts) for counts in rows],
        "classes": [sum(count > 0 for count in counts) for counts in rows],
        "share of the largest class, %": [
            round(100 * max(counts) / max(1, sum(counts))) for counts in rows
        ],
    }
    table = _table(f"Training images of {len(rows)} stores", "per store", "least", "median", "most")
    for name, values in measures.items():
        table.add_row(name, str(min(values)), f"{median(values):g}", str(max(values)))
    return table


def _table(title: str, first: str, *others: str) -> Table:
    """Return an empty table whose first column is never cut, the others being numbers."""
    table = Table(title=title, box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True, min_width=len(first))
    for name in others:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table
