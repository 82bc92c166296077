"""A short description of a store's photos, printed before the store joins, and the progress bars
that a terminal shows while photos are read.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fedshelf.client.health.evidence.photos import check_decodable
from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.left_out import format_left_out
from fedshelf.common.images.folder.scan import expected_layout
from fedshelf.common.scenes.formats.read import EXPECTED


def summarize_folder(data: Path, classes: Collection[str] = ()) -> str:
    """Describe the photos for training in a sentence or two.

    Args:
        data: Folder of photos, or a CSV file of them.
        classes: Names that are known to be classes; see `common.images.folder.scan.scan`.

    Raises:
        DataError: The photos cannot be listed, or none of them can be used.
    """
    with progress_of_steps() as progress:
        photos = check_decodable(data, progress("Looking at photos"), classes)
    if photos.trouble:
        raise DataError(photos.trouble)
    if not photos.usable and not photos.without_class:
        left_out = photos.left_out + photos.strays
        got = f"; found {format_left_out(left_out)}" if left_out else ""
        expected = f"photos with {EXPECTED}" if photos.scenes else expected_layout(data)
        raise DataError(f"No photo in {data}; expected {expected}{got}.")
    return " ".join([photos.summary(), *(f"{note}." for note in photos.notes)])


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
