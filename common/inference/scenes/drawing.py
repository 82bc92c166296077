"""Boxes drawn on a photo, with names; told apart by colour, by line and by word.

The colours are of Okabe and Ito, "Color Universal Design" (2008), which people with any kind of
colour vision can tell apart; each line has a white one around it, so that it is seen on dark
photos.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from fedshelf.common.inference.scenes.products import LocatedProduct
from fedshelf.common.inference.scenes.shelf_check import ShelfFindings
from fedshelf.common.text import printable

BLUE = "#0072b2"
ORANGE = "#e69f00"
VERMILION = "#d55e00"
BLACK = "#000000"

# outcome -> colour, and whether the line is dashed
STYLES = {
    "sure": (BLUE, False),
    "unsure": (ORANGE, False),
    "unknown": (BLACK, False),
    "right": (BLUE, False),
    "wrong": (VERMILION, False),
    "gap": (VERMILION, True),
    "extra": (BLACK, True),
}

_THICKNESS = 1 / 400  # of the photo's longer side
_TEXT_HEIGHT = 1 / 60  # of the photo's longer side
_LEAST_TEXT_PIXELS = 10
_DASH = 4  # line widths
_LABEL_CHARACTERS = 40


@dataclass(frozen=True)
class Mark:
    """A box to draw.

    Attributes:
        box: left, top, right and bottom edge in pixels of the photo
        style: a key of STYLES
        label: text above the box; empty: none
    """

    box: tuple[float, float, float, float]
    style: str
    label: str


def product_marks(products: Sequence[LocatedProduct]) -> list[Mark]:
    """Return the marks of located products: names, or the locator's score where none is told."""
    marks = []
    for product in products:
        if product.verdict is None:
            marks.append(Mark(product.box, "sure", product.name or f"{product.score:.0%}"))
        elif product.verdict == "sure":
            marks.append(Mark(product.box, "sure", product.name or ""))
        elif product.verdict == "unsure":
            marks.append(Mark(product.box, "unsure", f"{product.name}?"))
        else:
            marks.append(Mark(product.box, "unknown", "unknown"))
    return marks


def shelf_marks(findings: ShelfFindings, width: int, height: int) -> list[Mark]:
    """Return the marks of a comparison with a planogram, on a photo of a size in pixels.

    A gap is drawn where the planogram has a rectangle; a gap of shelf and column has no place on
    the photo.
    """
    marks = []
    for finding in findings.places:
        product = finding.product
        expected = finding.place.product
        if product is None:
            if finding.place.rectangle is not None:
                left, top, right, bottom = finding.place.rectangle
                box = (left * width, top * height, right * width, bottom * height)
                marks.append(Mark(box, "gap", f"gap: {expected}"))
            continue
        label = {
            "right": expected,
            "wrong": f"{product.name}, not {expected}",
            "unsure": f"{expected}? ({product.name}?)",
            "unknown": f"{expected}? (unknown)",
        }[finding.outcome]
        marks.append(Mark(product.box, finding.outcome, label))
    marks += [
        Mark(product.box, "extra", f"not in the plan: {product.name}") for product in findings.extra
    ]
    return marks


def draw(photo: Image.Image, marks: Sequence[Mark]) -> Image.Image:
    """Return a copy of a photo, RGB, with marks on it; labels are above all boxes."""
    picture = photo.copy()
    pen = ImageDraw.Draw(picture)
    longer = max(photo.size)
    width = max(1, round(_THICKNESS * longer))
    font = ImageFont.load_default(max(_LEAST_TEXT_PIXELS, _TEXT_HEIGHT * longer))
    for mark in marks:
        colour, is_dashed = STYLES[mark.style]
        _rectangle(pen, mark.box, "white", 3 * width, is_dashed=False)
        _rectangle(pen, mark.box, colour, width, is_dashed=is_dashed)
    for mark in marks:
        if mark.label:
            _label(pen, mark, font, photo.size)
    return picture


def _rectangle(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    colour: str,
    width: int,
    *,
    is_dashed: bool,
) -> None:
    """Draw a box's outline, its middle on the edges."""
    left, top, right, bottom = map(round, box)
    lines = [
        (left, top, right, top),
        (right, top, right, bottom),
        (left, bottom, right, bottom),
        (left, top, left, bottom),
    ]
    for x1, y1, x2, y2 in lines:
        length = max(x2 - x1, y2 - y1)
        dash = _DASH * width if is_dashed else max(1, length)
        across, down = int(x2 > x1), int(y2 > y1)
        for start in range(0, max(1, length), 2 * dash if is_dashed else dash):
            end = min(start + dash, length)
            pen.line(
                (x1 + start * across, y1 + start * down, x1 + end * across, y1 + end * down),
                fill=colour,
                width=width,
            )


def _label(
    pen: ImageDraw.ImageDraw,
    mark: Mark,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Draw a mark's text above its box, or in it at the photo's upper edge."""
    text = printable(mark.label)
    if len(text) > _LABEL_CHARACTERS:
        text = text[: _LABEL_CHARACTERS - 3] + "..."
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 4, bottom - top + 4
    x = max(0, min(round(mark.box[0]), size[0] - round(width)))
    y = round(mark.box[1] - height) if mark.box[1] >= height else round(mark.box[1])
    pen.rectangle((x, y, x + width, y + height), fill=STYLES[mark.style][0])
    ink = "black" if STYLES[mark.style][0] == ORANGE else "white"
    pen.text((x + 2 - left, y + 2 - top), text, fill=ink, font=font)
