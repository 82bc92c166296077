"""Boxes on a picture."""

import numpy as np
from PIL import Image, ImageColor

from fedshelf.common.inference.scenes.drawing import STYLES, Mark, draw, product_marks
from fedshelf.common.inference.scenes.products import LocatedProduct

GREY = Image.new("RGB", (400, 200), (90, 90, 90))
BOX = (100.0, 60.0, 180.0, 160.0)


def test_a_box_is_drawn_on_its_edges_and_the_photo_stays_as_it_was() -> None:
    drawn = np.asarray(draw(GREY, [Mark(BOX, "sure", "")]))
    blue = (drawn == ImageColor.getrgb(STYLES["sure"][0])).all(axis=2)
    rows, columns = np.nonzero(blue)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == BOX
    assert blue.sum() == 2 * (80 + 100)
    white = (drawn == 255).all(axis=2)
    assert white[59, 100:181].all()  # around it, on a dark photo
    assert (np.asarray(GREY) == 90).all()


def test_a_gap_is_dashed() -> None:
    colour = ImageColor.getrgb(STYLES["gap"][0])
    assert colour == ImageColor.getrgb(STYLES["wrong"][0])
    counts = [
        int((np.asarray(draw(GREY, [Mark(BOX, style, "")])) == colour).all(axis=2).sum())
        for style in ("gap", "wrong")
    ]
    assert 0.4 < counts[0] / counts[1] < 0.75


def test_labels_stay_on_the_picture() -> None:
    """At the right edge and at the top; only the label's own pixels change."""
    for box in ((390.0, 100.0, 399.0, 150.0), (0.0, 0.0, 50.0, 50.0)):
        plain = np.asarray(draw(GREY, [Mark(box, "sure", "")]))
        labelled = np.asarray(draw(GREY, [Mark(box, "sure", "Cola 0.5 l\n\x1b[31m")]))
        rows, columns = np.nonzero((plain != labelled).any(axis=2))
        assert len(rows) > 200
        assert columns.max() - columns.min() > 50


def test_words_tell_what_colours_tell() -> None:
    guesses = (("cola", 0.5), ("tea", 0.3))
    products = [
        LocatedProduct(BOX, 0.912, verdict, guesses if verdict else ())
        for verdict in ("sure", "unsure", "unknown", None)
    ]
    labels = [mark.label for mark in product_marks(products)]
    assert labels == ["cola", "cola?", "unknown", "91%"]
