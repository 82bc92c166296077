"""Corrections for stores that sell different classes: in their loss, and in the mean of the head.

A store whose photos show only some of the run's classes can teach little about the others. Trained
on the scores of all classes alike, it would still push the others down, and each round would undo
what the stores that have these classes have learned. If a store never hears of the others at all,
nobody learns to tell its products from those that it does not sell. So absent classes count, but
little.
"""

import unicodedata
from collections.abc import Sequence
from math import log

import torch
from torch import Tensor

from fedshelf.common.images.types import Images
from fedshelf.common.parameters.aggregation import RowShares
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Plan, StoreInfo

# least weight of a class, as a part of an even share of all classes (measured in docs/results.md)
LEAST_SHARE = 0.03


def logit_offsets(images: Images, classes: int, mode: str) -> Tensor | None:
    """Return the offsets that a store adds to its scores in training.

    Args:
        images: the store's training images
        classes: C, number of classes of the run
        mode: `StrategyConfig.absent`. "full": no offsets; "mask": all classes that the store has
            get the same share; "weigh": each class gets its share of the images

    Returns:
        log max(share_c, LEAST_SHARE / C), float32 [C] on the CPU; None: no offsets.
    """
    counts = torch.bincount(images.targets(), minlength=classes).cpu()
    if mode == "full" or (mode == "mask" and bool((counts > 0).all())):
        return None
    shares = counts > 0 if mode == "mask" else counts
    return (shares / shares.sum().clamp(min=1)).clamp(min=LEAST_SHARE / classes).log()


def logit_adjustment(train: Images, plan: Plan) -> Tensor | None:
    """Return the offsets that a store adds to the scores when it uses a run's model.

    They are the offsets that its training added: the logarithms of its shares of the classes. A
    model trained with `offsets` has the stores' mixes of classes taken out of its scores. Adding
    a store's own mix makes them fit the images that this store sees (Menon et al., "Long-tail
    learning via logit adjustment", ICLR 2021).

    Args:
        train: the store's training images
        plan: the run's plan

    Returns:
        Float32 [C] on the CPU; None: no offsets.
    """
    return (
        logit_offsets(train, len(plan.spec.classes), plan.config.strategy.absent)
        if len(train)
        else None
    )


def max_loss_change(classes: int) -> float:
    """Return the largest change that an adjustment makes to the loss of an image.

    It is log(classes / LEAST_SHARE). The change is log(sum_c p_c e^a_c) - a_y, where p are the
    model's probabilities and a the adjustment. So it is at most the largest a minus the smallest,
    and all a lie between log(LEAST_SHARE / classes) and 0.
    """
    return log(classes / LEAST_SHARE)


def images_by_class(info: StoreInfo, classes: Sequence[str], num_examples: int) -> Tensor:
    """Return the images of each class that an update represents.

    The store's own counts are scaled to sum to `num_examples`: no store's row weighs more than its
    update does. Images whose class the store keeps to itself are spread evenly: over the classes
    that it names without a number, or, if there are none, over all classes that it does not name.

    Args:
        info: the store's own counts by class name
        classes: names of the C classes
        num_examples: images that the update was trained on

    Returns:
        Float64 [C].
    """
    counts_by_name = {_normalize(name): count for name, count in info.counts.items()}
    counts = torch.tensor(
        [counts_by_name.get(_normalize(name), 0) for name in classes], dtype=torch.float64
    )
    if info.undisclosed_images:
        named = torch.tensor([counts_by_name.get(_normalize(name)) == 0 for name in classes])
        undisclosed = named if named.any() else counts == 0
        counts[undisclosed] += info.undisclosed_images / max(1, int(undisclosed.sum()))
    return counts * (num_examples / counts.sum().clamp(min=1))


def row_shares(
    images_by_class: Sequence[Tensor | None], layout: Layout, *, uniform: bool
) -> RowShares | None:
    """Return each update's share in each class's row of the head.

    Args:
        images_by_class: float64 [C] of each update, as in `common.protocol.messages.Update`, or
            None if unknown
        layout: the place of the head in a vector
        uniform: True: all updates that have a class share its row evenly; False: in proportion to
            their images of the class

    Returns:
        None if the classes of an update are unknown.
    """
    if (images := _stack_counts(images_by_class)) is None:
        return None
    weights = (images > 0).double() if uniform else images
    return RowShares(layout.head_slices(), weights / weights.sum(dim=0).clamp(min=1e-300))


def keep_absent_rows(
    before: Tensor, after: Tensor, images_by_class: Sequence[Tensor | None], layout: Layout
) -> Tensor:
    """Return the model after a round, with the rows of absent classes as they were before it.

    Absent classes are those that no store of the cohort has. Momentum, decay and corrections would
    otherwise move rows that no image has taught. These rows stay beside the others' new rows;
    `centred` then moves all alike.

    Args:
        before: float32 [P], the model before the round
        after: float32 [P], the model after it
        images_by_class: float64 [C] of each update, or None if unknown
        layout: the place of the head in the vectors
    """
    images = _stack_counts(images_by_class)
    if images is None or bool((images > 0).any(dim=0).all()):
        return after
    absent = (images == 0).all(dim=0).to(after.device)
    after = after.clone()
    for head_slice in layout.head_slices():
        rows = after[head_slice].view(len(absent), -1)
        rows[absent] = before[head_slice].view(len(absent), -1)[absent].to(after.device)
    return after


def centred(vector: Tensor, layout: Layout) -> Tensor:
    """Return a vector with the mean over the classes subtracted from the head's rows.

    A softmax does not see what all scores have in common, so the model stays the same, and no
    gradient pulls that part back. Each row is a mean over the stores that have its class, and these
    stores raise it. So all rows rise together in each round, and a server's momentum adds the
    rounds up. A network with an activation behind its head does see the common part: its vector is
    returned unchanged.

    Args:
        vector: float32 [P] or [T]
        layout: the place of the head in the vector
    """
    if not layout.ends_in_head:
        return vector
    vector = vector.clone()
    for head_slice in layout.head_slices():
        rows = vector[head_slice].view(layout.classes, -1)
        rows.sub_(rows.mean(dim=0))
    return vector


def _stack_counts(by_class: Sequence[Tensor | None]) -> Tensor | None:
    """Return the counts as one tensor [n, C]; None if those of an update are unknown."""
    known = [images for images in by_class if images is not None]
    return torch.stack(known) if known and len(known) == len(by_class) else None


def _normalize(name: str) -> str:
    """Return `name` in Unicode's form NFC, as `photo_folder.relabel` compares names."""
    return unicodedata.normalize("NFC", name)
