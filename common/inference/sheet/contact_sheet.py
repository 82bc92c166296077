"""A contact sheet: photos with a remark each, in one HTML file that loads nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.picture import data_uri, thumbnail
from fedshelf.common.system.files import write_private
from fedshelf.common.text import printable

_THUMBNAIL_PIXELS = 240  # of the longer side


@dataclass(frozen=True)
class Figure:
    """A picture with its texts.

    Attributes:
        name: of the photo
        remark: above the name, in bold
        source: data URI of the picture; None: there is none any more
    """

    name: str
    remark: str
    source: str | None


@dataclass(frozen=True)
class SheetSection:
    """Figures below a heading."""

    heading: str
    figures: Sequence[Figure]


def photo_figure(path: Path, name: str, remark: str) -> Figure:
    """Return a photo as a figure, without a picture if it cannot be read any more.

    Args:
        path: the photo
        name: its name for people
        remark: above the name
    """
    try:
        return Figure(name, remark, data_uri(thumbnail(path, _THUMBNAIL_PIXELS)))
    except NotUsableError:
        return Figure(name, remark, None)


def write_sheet(path: Path, title: str, lead: str, sections: Sequence[SheetSection]) -> None:
    """Write a page for this user alone. Names come from a disk and are escaped everywhere.

    Args:
        path: the file
        title: its heading
        lead: the sentence below it
        sections: the pictures

    Raises:
        OSError: it cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    template = environment.get_template("contact_sheet.html.j2")
    write_private(path, template.render(title=title, lead=lead, sections=sections))
