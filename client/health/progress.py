"""Progress bars on a terminal while many photos are read."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def progress_of_steps() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Show a bar for each step on stderr, if that is a terminal, until the context ends.

    Yields a function from a step's name to one that takes (done, total).
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:

        def of(step: str) -> Callable[[int, int], None]:
            task = progress.add_task(step, total=None)
            return lambda done, total: progress.update(task, completed=done, total=total)

        yield of
