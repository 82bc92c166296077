"""Values and tables of a model card, in Markdown that no value can break."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fedshelf.common.text import sanitize


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Return a table, with an empty line before it."""
    lines = [header, ["---"] * len(header), *rows]
    return ["", *("| " + " | ".join(cell(value) for value in line) + " |" for line in lines)]


def cell(value: Any) -> str:
    """Return a value as text that cannot end a cell or begin something else in Markdown."""
    text = sanitize(str(value), 500)
    for mark in "\\|<>[]`*_#":
        text = text.replace(mark, f"\\{mark}")
    return text


def share(value: Any) -> str:
    """Return a share as a percentage; - if it is none."""
    return f"{value:.1%}" if isinstance(value, int | float) else "-"


def store_table(summary: Mapping[str, Any], measures: Mapping[str, str]) -> list[str]:
    """Return the results of each store, with a line before them; none if there are none.

    Args:
        summary: the run's `summary.json`
        measures: columns: figures of a store by the words for them
    """
    per_store = summary.get("per_store")
    if not per_store:
        return []
    rows = (
        (name, *(share(row.get(key)) for key in measures.values()), row.get("images", "-"))
        for name, row in per_store.items()
    )
    return [
        "",
        f"At the stores, on their {cell(summary.get('per_store_from') or 'own')} photos:",
        *table(("store", *measures, "images"), rows),
    ]
