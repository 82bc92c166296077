"""Images of several stores as one set."""

from collections.abc import Sequence

import torch

from fedshelf.common.images.types import Images


def pooled(images: Sequence[Images]) -> Images:
    """Return the images of several sets as one; sets of one array share it, others are copied into
    a new one.
    """
    first = images[0]
    if all(each.pixels.data_ptr() == first.pixels.data_ptr() for each in images):
        return Images(first.pixels, first.labels, torch.cat([each.rows for each in images]))
    return Images.whole(
        torch.cat([each.pixels.index_select(0, each.rows) for each in images]),
        torch.cat([each.targets() for each in images]),
    )
