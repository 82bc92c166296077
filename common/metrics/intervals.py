"""Confidence interval of a share of counted images."""

import math

Z_95 = 1.959964  # the standard normal's quantile of 97.5%


def wilson(share: float, images: int) -> tuple[float, float]:
    """Return the 95% interval of a share of so many images, as a pair within 0..1; needs at least
    one image.

    With n images, z = 1.96 and the share p: (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) /
    (1 + z^2 / n) (Wilson, "Probable inference, the law of succession, and statistical inference",
    JASA 22, 1927). Unlike the plain p +- z sqrt(p (1 - p) / n) it holds for few images and for
    shares near 0 and 1, too.
    """
    assert images > 0, images
    z2 = Z_95**2 / images
    middle = share + z2 / 2
    half = Z_95 * math.sqrt(share * (1 - share) / images + z2 / (4 * images))
    return max(0.0, (middle - half) / (1 + z2)), min(1.0, (middle + half) / (1 + z2))
