"""`flower-client index`: make a store's photos searchable."""

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import (
    DEFAULT_INDEX,
    Combine,
    Device,
    Features,
    Model,
    open_features,
)

if TYPE_CHECKING:
    from fedshelf.common.images.listing.folder_entries import LeftOut


def index(
    model: Model,
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The store's photos, at any depth.")
    ],
    out: Annotated[
        Path, typer.Option(help="The index; one that is there is brought up to date.")
    ] = DEFAULT_INDEX,
    features: Features = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Index the photos of a folder, so that `similar` finds those that look alike.

    Run it again when photos were added, changed or removed: only new ones pass the model.
    """
    from fedshelf.client.use.arguments.progress import photo_progress
    from fedshelf.common.images.folder.left_out import format_left_out
    from fedshelf.common.inference.search.updating import update_index
    from fedshelf.common.wording import format_count

    left_out: LeftOut = []
    predictor = open_features(model, features, combine, device)
    with ExitStack() as bars:
        made, changes = update_index(
            out,
            folder,
            predictor,
            left_out,
            lambda photos: bars.enter_context(photo_progress(photos)),
        )
    files = sum(len(photo.files) for photo in made.photos)
    copies = files - len(made.photos)
    typer.echo(
        f"{out}: {format_count(files, 'photo')} of {folder}"
        + (f", {format_count(copies, 'copy', 'copies')} among them" if copies else "")
        + f"; {changes.added:,} added, {changes.changed:,} changed, {changes.removed:,} removed."
    )
    if left_out:
        typer.echo(f"Left out: {format_left_out(left_out)}.", err=True)
