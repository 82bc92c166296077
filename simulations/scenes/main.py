"""Command-line options of `flower-simulation scenes`."""

from pathlib import Path
from typing import Annotated

import click
import typer


def scenes(
    photos: Annotated[
        Path, typer.Option(help="Folder of photos of single products, a sub-folder for each class.")
    ],
    out: Annotated[Path, typer.Option(help="New folder; it must not exist yet, or be empty.")],
    count: Annotated[
        int, typer.Option("--scenes", min=1, max=20_000, help="Scenes to make.")
    ] = 200,
    side: Annotated[
        int, typer.Option(min=64, max=1280, help="Width and height of a scene, pixels.")
    ] = 320,
    seed: Annotated[int, typer.Option(help="Random seed: another one makes other scenes.")] = 0,
    label_format: Annotated[
        str,
        typer.Option(
            "--format",
            click_type=click.Choice(["coco", "yolo"]),
            help="Labels: coco is one file with boxes and outlines, yolo a text file per scene.",
        ),
    ] = "coco",
    masks: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A mask network, which cuts out the products of photos without a plain margin.",
        ),
    ] = None,
) -> None:
    """Compose photos of shelves from photos of single products, with the boxes of all products.

    A product is cut out where the margin of its photo is plain; other photos are not used, unless a
    mask network cuts them out. No photo is in scenes of two splits, so that products on test scenes
    are unseen photos.
    """
    from fedshelf.simulations.scenes.command import compose_scenes

    typer.echo(compose_scenes(photos, out, count, side, seed, label_format, masks))
