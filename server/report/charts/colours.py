"""Colours that everybody can tell apart, for the pictures and the page."""

import colorsys

# Petroff, "Accessible Color Sequences for Data Visualization" (arXiv:2107.02270): ten colours
# chosen for colour-vision deficiency and for print.
TEN_COLOURS = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)

OTHER_COLOUR = "#ccd4db"  # colour of everything that has none of its own

# One colour per curve; the page has its own shades of the same hues for light and dark.
CURVE_COLOURS = {"train": "#832db6", "test": "#1f6fd0", "validation": "#d9730d"}


def class_colours(class_count: int) -> list[str]:
    """Return one colour per class.

    Beyond ten classes, hues are a golden angle apart, so that neighbours always differ.
    """
    if class_count <= len(TEN_COLOURS):
        return list(TEN_COLOURS[:class_count])
    return [_golden_angle_colour(index) for index in range(class_count)]


def _golden_angle_colour(index: int) -> str:
    lightness = (0.42, 0.56, 0.70)[index % 3]
    red, green, blue = colorsys.hls_to_rgb(index * 0.618034 % 1, lightness, 0.55)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
