"""Tables of the commands that list something: as wide as the terminal, or as they need to be for a file or a pipe."""

import sys
from collections.abc import Iterable, Sequence

_WIDE = 400  # characters, where nobody's screen is to be fitted: a line of output is a row


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()) -> None:
    """Print rows of text under the names of their columns, those in `numbers` to the right."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE).print(table)
