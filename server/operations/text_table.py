"""Tables of the listing commands: as wide as the terminal, or as wide as needed in a file or a
pipe.
"""

import sys
from collections.abc import Iterable, Sequence

_WIDE = 400  # characters, in a file or a pipe: one line per row


def print_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = ()
) -> None:
    """Print rows of text under the names of their columns, those in `numbers` aligned to the
    right.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, overflow="fold", justify="right" if name in numbers else "left")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE).print(
        table
    )
