"""The classes of boxes and masks as a run counts them: one class of all products, or named ones."""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedshelf.common.classes.spelling import class_indices
from fedshelf.common.errors import DataError
from fedshelf.common.scenes.difficult import DIFFICULT
from fedshelf.common.scenes.formats.masks import MAX_MASK_CLASSES, NOTHING_SAID
from fedshelf.common.suggest import did_you_mean
from fedshelf.common.wording import format_count

CLASS = 4
"""The column of boxes, [..., 5], with the class; the edges come before it."""

UNNAMED_CLASS = -1
"""The class of a product whose class is not known."""


class UnknownClassError(DataError):
    """Scenes have products that are of no class of the run."""


def in_run_classes(
    annotations: Tensor, known: Sequence[str], wanted: Sequence[str], *, merge: bool = False
) -> Tensor:
    """Return annotations with the classes of a run.

    Args:
        annotations: boxes, float32 [N, K, 5], with places in `known`, or -1 for products
            without a class; or masks, uint8 [N, S, S], with such places + 1, and the number of
            known classes + 1 for products without a class
        known: the classes that the annotations have
        wanted: the run's classes of products; (): a product is a product, whatever its class
        merge: True if a class may be spelt differently there; see `common.classes.spelling`

    Returns:
        A copy with places in `wanted` (0 if there are none), or, of masks, with such places + 1. In
        a run with classes, products without one are neither asked for nor wrong.

    Raises:
        UnknownClassError: a product has none of the run's classes, or none has a class at all.
    """
    places = class_indices(known, wanted, merge=merge)
    is_mask = annotations.dtype == torch.uint8
    numbers = annotations.long() - 1 if is_mask else annotations[..., CLASS].long()
    if is_mask:
        is_product = (annotations > 0) & (annotations != NOTHING_SAID)
    else:
        numbers = torch.where(numbers == UNNAMED_CLASS, len(known), numbers)
        has_area = (annotations[..., 2:4] > annotations[..., :2]).all(-1)
        is_product = has_area & (numbers >= 0)
    if wanted:
        _check(numbers[is_product], known, wanted, set(places), "pixel" if is_mask else "box")
    # the last place is that of products without a class
    table = torch.tensor([places.get(name, 0) for name in known] + [0])
    if wanted:
        table[-1] = NOTHING_SAID - 1 if is_mask else DIFFICULT
    new = torch.where(is_product, table[torch.where(is_product, numbers, 0)], numbers)
    if is_mask:
        return (new + 1).to(torch.uint8)
    return torch.cat([annotations[..., :CLASS], new[..., None].to(annotations.dtype)], -1)


def _check(
    numbers: Tensor, known: Sequence[str], wanted: Sequence[str], found: set[str], noun: str
) -> None:
    """Raise UnknownClassError unless all products are of the run's classes.

    Args:
        numbers: int64 [P], the class of each box or pixel of a product
        known: names of the classes but the last one, which has none
        wanted: names of the run's classes
        found: names of `known` that the run has
        noun: a thing that has a class
    """
    if noun == "pixel" and len(known) > MAX_MASK_CLASSES:
        raise UnknownClassError(
            f"The scenes have {len(known)} classes, and a mask can tell at most {MAX_MASK_CLASSES};"
            " leave data.classes out: then a product is a product."
        )
    counts = numbers.bincount(minlength=len(known) + 1).tolist()
    for name, count in zip(known, counts, strict=False):
        if count and name not in found:
            raise UnknownClassError(
                f"The scenes have {format_count(count, noun, _PLURALS[noun])} of class {name!r},"
                f" which is none of the run's {len(wanted)} classes; add it to data.classes, or"
                f" take its products out.{did_you_mean(name, wanted)}"
            )
    if counts[-1] and not any(counts[:-1]):
        raise UnknownClassError(
            f"The scenes have {format_count(counts[-1], noun, _PLURALS[noun])} of products, none of"
            f" them with a class, and the run has {len(wanted)} classes; name them, or leave"
            " data.classes out: then a product is a product."
        )


_PLURALS = {"box": "boxes", "pixel": "pixels"}
