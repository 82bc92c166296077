"""The ten products of the `shelf` data set: outlines and markings, in plain numbers.

A product stands upright in a frame whose height runs from 0 (foot) to 1 (top). Half-widths are in
the same unit. Colours are drawn at random for each picture, so that only the form tells the class.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """One kind of product.

    Attributes:
        outline: (height, half-width) from foot to top; straight lines in between, or curves if
            `soft`
        height: height of the product, as a share of the largest one's
        soft: whether the outline bends smoothly
        turned: whether it is round like a can, shaded from side to side; otherwise it has a front
            and a darker side face
        cap: heights between which the second colour shows, or None
        label: heights between which a printed label may sit
        rim: half-height of the ellipse that closes the top; 0: no ellipse
        opening: whether that ellipse is an opening (dark) or a lid (bright)
        crimp: depth of the pleats along foot and top; 0: no pleats
    """

    outline: tuple[tuple[float, float], ...]
    height: float = 1.0
    soft: bool = False
    turned: bool = True
    cap: tuple[float, float] | None = None
    label: tuple[float, float] = (0.2, 0.7)
    rim: float = 0.0
    opening: bool = False
    crimp: float = 0.0


PRODUCTS = {
    "bag": Product(
        outline=((0.0, 0.32), (0.1, 0.29), (0.35, 0.38), (0.65, 0.38), (0.9, 0.29), (1.0, 0.32)),
        height=0.88,
        soft=True,
        label=(0.3, 0.72),
        crimp=0.1,
    ),
    "bottle": Product(
        outline=((0.0, 0.19), (0.55, 0.2), (0.76, 0.07), (1.0, 0.07)),
        soft=True,
        cap=(0.88, 1.01),
        label=(0.14, 0.5),
    ),
    "bowl": Product(
        outline=((0.0, 0.32), (0.12, 0.36), (0.55, 0.66), (1.0, 0.78)),
        height=0.5,
        soft=True,
        label=(0.3, 0.7),
        rim=0.2,
        opening=True,
    ),
    "box": Product(
        outline=((0.0, 0.33), (1.0, 0.33)), height=0.94, turned=False, label=(0.35, 0.85)
    ),
    "can": Product(
        outline=((0.0, 0.19), (0.05, 0.23), (0.9, 0.23), (1.0, 0.19)),
        height=0.8,
        label=(0.15, 0.8),
        rim=0.08,
    ),
    "carton": Product(
        outline=((0.0, 0.26), (0.64, 0.26), (0.88, 0.08), (0.89, 0.2), (1.0, 0.2)),
        height=0.95,
        turned=False,
        label=(0.15, 0.6),
    ),
    "cup": Product(
        outline=((0.0, 0.22), (0.86, 0.33), (0.87, 0.37), (1.0, 0.35)),
        height=0.74,
        cap=(0.86, 1.01),
        label=(0.25, 0.65),
    ),
    "jar": Product(
        outline=((0.0, 0.31), (0.06, 0.36), (0.6, 0.36), (0.76, 0.22), (0.78, 0.27), (1.0, 0.27)),
        height=0.68,
        soft=True,
        cap=(0.78, 1.01),
        label=(0.16, 0.58),
    ),
    "tin": Product(
        outline=((0.0, 0.54), (0.07, 0.58), (0.9, 0.58), (1.0, 0.54)),
        height=0.45,
        label=(0.2, 0.75),
        rim=0.22,
    ),
    "tube": Product(
        outline=((0.0, 0.1), (0.17, 0.1), (0.18, 0.13), (0.5, 0.19), (1.0, 0.24)),
        cap=(-0.01, 0.17),
        label=(0.35, 0.85),
    ),
}
