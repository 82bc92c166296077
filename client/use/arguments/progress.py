"""The bar that a terminal shows while photos pass through a model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn


@contextmanager
def photo_progress(photos: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on stderr, if that is a terminal, until the context ends.

    Args:
        photos: number of photos in all

    Yields:
        A function that takes the number of photos that were done since its last call.
    """
    console = Console(stderr=True)
    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task("photos", total=photos)
        yield lambda done: progress.advance(task, done)
