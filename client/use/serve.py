"""`flower-client serve`: a finished model behind HTTP."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedshelf.client.use.arguments.model_arguments import (
    Combine,
    Device,
    Model,
    model_paths,
    open_with_index,
)

MEMORY_ARENAS = 2  # heaps of the C library: one for each thread took 20 MB more

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fedshelf.common.inference.predictors.predictor import Predictor
    from fedshelf.common.inference.search.index_file import SearchIndex


def serve(
    model: Model,
    host: Annotated[
        str,
        typer.Option(
            help="Address of this machine to listen at; another than loopback needs --key-file."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0: a free one.")
    ] = 8080,
    key_file: Annotated[
        Path | None,
        typer.Option(help="File with API keys, one a line, that you alone can read."),
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option(
            help="An index of photos: similar ones are found, and what is unlike all is unknown."
        ),
    ] = None,
    locator: Annotated[
        Path | None,
        typer.Option(
            metavar="MODEL",
            help="A locator: finds the products of scenes; MODEL names them if it does not.",
        ),
    ] = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Answer questions about photos over HTTP, and by a page for people.

    A changed model is taken up without a lost request; SIGHUP makes sure of it.
    """
    from fedshelf.common.system.allocator import limit_arenas

    limit_arenas(MEMORY_ARENAS)  # before the imports below start threads

    from fedshelf.client.service.classification.served_model import ModelFiles
    from fedshelf.client.service.photo_service import PhotoService
    from fedshelf.client.service.requests.api_keys import ApiKeys, read_api_keys
    from fedshelf.client.service.requests.limits import ServiceLimits
    from fedshelf.client.service.server import bind
    from fedshelf.client.service.server import serve as serve_requests
    from fedshelf.common.inference.loading import load_locator, onnx_file_of
    from fedshelf.common.system.extras import import_extra

    import_extra("python_multipart", "use")
    keys = ApiKeys([]) if key_file is None else read_api_keys(key_file)
    listener = bind(host, port, keys)

    paths = model_paths(model)
    files_of_model = paths if index is None else [*paths, index]
    opened = partial(_open, model, index, combine, device)
    files = ModelFiles(files_of_model, opened, locator, partial(load_locator, device=device))
    by_browsers = [None if path is None else onnx_file_of(path) for path in (_only(paths), locator)]
    address = _address(host, listener.getsockname()[1])
    serve_requests(
        PhotoService(files, ServiceLimits(), *by_browsers),
        keys,
        listener,
        lambda: typer.echo(f"{files.name} answers at {address}; end it with Ctrl-C."),
    )


def _address(host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{port}"


def _only(paths: "Sequence[Path]") -> Path | None:
    """Return the one path; None if there are several, which browsers do not run together."""
    return paths[0] if len(paths) == 1 else None


def _open(
    model: str, index: Path | None, combine: str, device: str
) -> "tuple[Predictor, SearchIndex | None]":
    """Return the model and its index, if it has one. Raises DataError, ConfigError."""
    from fedshelf.common.inference.search.index_file import read_index

    predictor = open_with_index(model, index, None, combine, device)
    return predictor, None if index is None else read_index(index)
