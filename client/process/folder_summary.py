"""A short description of a store's photos, printed before the store joins."""

from collections.abc import Collection
from pathlib import Path

from fedshelf.client.health.evidence.photos import check_decodable
from fedshelf.client.health.progress import progress_of_steps
from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.left_out import format_left_out
from fedshelf.common.images.folder.scan import expected_layout


def survey(data: Path, classes: Collection[str] = ()) -> str:
    """Describe the photos for training in a sentence or two. Raises DataError if there is none."""
    with progress_of_steps() as progress:
        photos = check_decodable(data, progress("Looking at photos"), classes)
    if photos.trouble:
        raise DataError(photos.trouble)
    if not photos.usable and not photos.without_class:
        left_out = photos.left_out + photos.strays
        got = f"; found {format_left_out(left_out)}" if left_out else ""
        raise DataError(f"No photo in {data}; expected {expected_layout(data)}{got}.")
    return " ".join([photos.summary(), *(f"{note}." for note in photos.notes)])
