"""A photo with its products as they are and all else pale."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

_PALE = 0.75  # share of white in what is no product
_EDGE = (213, 94, 0)  # vermilion of Okabe and Ito, "Color Universal Design" (2008)


def faded(photo: Image.Image, products: NDArray[np.bool_]) -> Image.Image:
    """Return a photo whose background is pale, with a line around its products.

    Args:
        photo: RGB
        products: bool [height, width], the pixels of products
    """
    inside = Image.fromarray(products.astype(np.uint8) * 255)
    white = Image.new("RGB", photo.size, "white")
    picture = Image.composite(photo, Image.blend(photo, white, _PALE), inside)
    wider = np.asarray(inside.filter(ImageFilter.MaxFilter(3))) > 0
    line = Image.fromarray((wider & ~products).astype(np.uint8) * 255)
    picture.paste(_EDGE, mask=line)
    return picture
