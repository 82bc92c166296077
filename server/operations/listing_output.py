"""Output of the listing commands: a table for a person, or JSON for a program."""

import dataclasses
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PIPE_WIDTH = 400  # characters, in a file or a pipe: one line per row


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()
) -> None:
    """Print rows of text under the names of their columns.

    A table is as wide as the terminal; in a file or a pipe it is as wide as needed.

    Args:
        columns: names of the columns
        rows:    the cells of each row
        numbers: columns that are aligned to the right
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(
        table
    )


def to_json(rows: "DataclassInstance | Iterable[DataclassInstance]") -> str:
    """Return a dataclass as one JSON object, or several as a JSON list."""
    value = (
        dataclasses.asdict(rows)
        if dataclasses.is_dataclass(rows)
        else [dataclasses.asdict(row) for row in rows]
    )
    return json.dumps(value, ensure_ascii=False, indent=2)
