"""`flower-client page`: the page with a model in it, as a folder for any web server."""

from pathlib import Path
from typing import Annotated

import typer

from fedshelf.common.errors import DataError


def page(
    model: Annotated[
        Path,
        typer.Argument(readable=False, help="An exported ONNX file, or a release that has one."),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; there must be nothing yet.")],
    locator: Annotated[
        Path | None,
        typer.Option(
            readable=False,
            metavar="MODEL",
            help="A locator as such a file: finds products; MODEL names them if it does not.",
        ),
    ] = None,
) -> None:
    """Write the page as a folder that any web server can hold.

    The model runs in the visitor's browser, and no photo leaves it.
    """
    from fedshelf.client.service.device_model import (
        device_model_file,
        read_device_locator,
        read_device_model,
    )
    from fedshelf.client.service.page_files import page_folder
    from fedshelf.common.system.files import write_folder

    name = model.resolve().name if model.is_dir() else model.stem
    found = None if locator is None else read_device_locator(device_model_file(locator))
    named = read_device_model(device_model_file(model), name, has_locator=found is not None)
    files = page_folder(named, found)
    try:
        write_folder(out, files)
    except FileExistsError:
        raise DataError(f"{out} is there already; choose another --out, or remove it.") from None
    except OSError as error:
        raise DataError(f"Cannot write {out} ({error.strerror or error}).") from error
    size = sum(map(len, files.values())) / 1e6
    typer.echo(f"{out}: {len(files)} files, {size:.1f} MB; any web server can hold them.")
