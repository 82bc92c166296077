"""`flower-client similar`: the photos of an index that look like others."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedshelf.client.use.arguments.model_arguments import (
    DEFAULT_INDEX,
    Combine,
    Device,
    Features,
    Model,
    open_features,
)
from fedshelf.common.errors import ConfigError
from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_list

if TYPE_CHECKING:
    from fedshelf.common.inference.search.index_file import SearchIndex
    from fedshelf.common.inference.search.query import Match, QueryPhoto


def similar(
    model: Model,
    photos: Annotated[
        list[Path] | None, typer.Argument(metavar="PHOTO...", help="Photos to look for.")
    ] = None,
    index: Annotated[Path, typer.Option(help="Made by `flower-client index`.")] = DEFAULT_INDEX,
    top: Annotated[int, typer.Option(min=1, help="Photos that are told.")] = 10,
    like: Annotated[
        list[str] | None,
        typer.Option(metavar="PHOTO:WEIGHT", help="A further photo that counts so much; others 1."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each photo.")
    ] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write a contact sheet to this HTML file.")
    ] = None,
    features: Features = None,
    combine: Combine = "mean",
    device: Device = "auto",
) -> None:
    """Find the photos of an index that look most like some photos, all of these together.

    Copies of the photos themselves are not told. A classifier sees classes rather than products:
    expect the same kind of thing, seldom the same thing.
    """
    from fedshelf.common.inference.search.index_file import read_index
    from fedshelf.common.inference.search.query import read_query, search

    wanted = [(path, 1.0) for path in photos or []] + [_weighted(text) for text in like or []]
    if not wanted:
        raise ConfigError("similar got no photo; expected one, or several that count together.")
    found = read_index(index)
    predictor = open_features(model, features, combine, device)
    found.check_model(predictor.description, index)
    query = [read_query(path, weight, predictor) for path, weight in wanted]
    matches = search(found, query, top)
    for match in matches:
        typer.echo(_json(match) if as_json else _line(match))
    if not found.is_complete:
        typer.echo(f"{index} is not finished: run flower-client index once more.", err=True)
    if html is not None:
        _write_sheet(html, query, matches, found)


def _weighted(text: str) -> tuple[Path, float]:
    path, _, number = text.rpartition(":")
    try:
        weight = float(number)
    except ValueError:
        weight = 0.0
    if not path or not 0 < weight < float("inf"):
        raise ConfigError(
            f"--like got {text!r}; expected a photo and its weight above 0, as in shoe.jpg:2."
        )
    return Path(path), weight


def _line(match: "Match") -> str:
    name, *copies = match.names
    more = f" (and {format_count(len(copies), 'copy', 'copies')})" if copies else ""
    return f"{match.similarity:.3f}  {printable(name)}{more}"


def _json(match: "Match") -> str:
    values: dict[str, Any] = {
        "photo": match.names[0],
        "similarity": match.similarity,
        "copies": list(match.names[1:]),
    }
    return json.dumps(values, ensure_ascii=False)


def _write_sheet(
    path: Path, query: Sequence["QueryPhoto"], matches: Sequence["Match"], index: "SearchIndex"
) -> None:
    from fedshelf.common.inference.sheet.contact_sheet import (
        SheetSection,
        photo_figure,
        write_sheet,
    )

    write_sheet(
        path,
        f"Photos like {format_list([photo.name for photo in query])}",
        f"The {len(matches)} most similar of {len(index.photos):,} indexed photos; 1 is the same.",
        [
            SheetSection(
                "Looked for",
                [
                    photo_figure(photo.path, photo.name, f"weight {photo.weight:g}")
                    for photo in query
                ],
            ),
            SheetSection(
                "Found",
                [
                    photo_figure(match.paths[0], match.names[0], f"{match.similarity:.3f}")
                    for match in matches
                ],
            ),
        ],
    )
