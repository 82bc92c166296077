"""Stores sell different classes: what of the head a store trains, and by whom each class's row is averaged.

A store whose photos show some of the run's classes only can teach little of the others. Trained on the scores of all
classes alike it would push theirs down all the same, and each round would undo what the stores that have them have
learned. Where it never hears of them at all, nobody learns to tell its products from those that it does not sell. So
they count, but little.
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

LEAST_SHARE = 0.03  # what a class counts at least, of an even share of all classes (measured in docs/results.md)


def offsets(images: Images, classes: int, mode: str) -> Tensor | None:
    """What a store with these training images adds to its scores: float32 [C] on the CPU; None: nothing.

    mode: `StrategyConfig.absent`
    """
    counts = torch.bincount(images.targets(), minlength=classes).cpu()
    if mode == "full" or (mode == "mask" and bool((counts > 0).all())):
        return None
    shares = counts > 0 if mode == "mask" else counts
    return (shares / shares.sum().clamp(min=1)).clamp(min=LEAST_SHARE / classes).log()


def adjustment(train: Images, plan: Plan) -> Tensor | None:
    """Return what a store with these training images adds to the scores of a plan's model when it uses it.

    float32 [C] on the CPU: the logarithms of its shares of the classes, as its training added them; None: nothing.

    A model trained with `offsets` has the stores' mixes of classes taken out of its scores. Adding a store's own
    makes them fit the images that this store sees (Menon et al., "Long-tail learning via logit adjustment", ICLR 2021).
    """
    return offsets(train, len(plan.spec.classes), plan.config.strategy.absent) if len(train) else None


def most_loss(classes: int) -> float:
    """By how much an adjustment changes the loss of an image at most: log(classes / LEAST_SHARE).

    The change is log(sum_c p_c e^a_c) - a_y with the model's p, so no larger than the largest a less the smallest; they
    lie between log(LEAST_SHARE / classes) and 0.
    """
    return log(classes / LEAST_SHARE)


def images_by_class(info: StoreInfo, classes: Sequence[str], num_examples: int) -> Tensor:
    """How many images of each class an update stands for that was trained on `num_examples`: float64 [C].

    As the store has told, in proportion: no store's row weighs more than its update does. Images whose class it keeps
    to itself are spread evenly, over the classes that it names without a number, else over all those it does not name.
    """
    told = {_normal(name): count for name, count in info.counts.items()}
    counts = torch.tensor([told.get(_normal(name), 0) for name in classes], dtype=torch.float64)
    if info.untold:
        named = torch.tensor([told.get(_normal(name)) == 0 for name in classes])
        over = named if named.any() else counts == 0
        counts[over] += info.untold / max(1, int(over.sum()))
    return counts * (num_examples / counts.sum().clamp(min=1))


def row_shares(by_class: Sequence[Tensor | None], layout: Layout, *, uniform: bool) -> RowShares | None:
    """Each update's share in each class's row of the head: its images of the class, or the same for all that have it.

    by_class: of each update, see `common.protocol.messages.Update`; None, if it is not known of all of them
    """
    if (images := _stacked(by_class)) is None:
        return None
    weights = (images > 0).double() if uniform else images
    return RowShares(layout.rows(), weights / weights.sum(dim=0).clamp(min=1e-300))


def keep_rows(before: Tensor, after: Tensor, by_class: Sequence[Tensor | None], layout: Layout) -> Tensor:
    """The model `after` a round (float32 [P]), but for the rows of classes that no store of the cohort has: they stay
    as they were `before`. Else momentum, decay and corrections would move what nobody has looked at.

    They stay beside the others' new rows; `centred` then moves all alike.
    """
    images = _stacked(by_class)
    if images is None or bool((images > 0).any(dim=0).all()):
        return after
    unsold, after = (images == 0).all(dim=0).to(after.device), after.clone()
    for span in layout.rows():
        rows = after[span].view(len(unsold), -1)
        rows[unsold] = before[span].view(len(unsold), -1)[unsold].to(after.device)
    return after


def centred(vector: Tensor, layout: Layout) -> Tensor:
    """`vector` (float32 [P] or [T]), the head's rows less their mean over the classes.

    A softmax does not see what all scores have in common, so the model stays the same, and no gradient pulls that part
    back. Where each row is a mean over the stores that have its class, which raise it, all rows rise together in
    each round; a server's momentum adds the rounds up. A network with an activation behind its head does see it: it
    is left alone.
    """
    if not layout.ends_in_head:
        return vector
    vector = vector.clone()
    for span in layout.rows():
        rows = vector[span].view(layout.classes, -1)
        rows.sub_(rows.mean(dim=0))
    return vector


def _stacked(by_class: Sequence[Tensor | None]) -> Tensor | None:
    """[n, C], or None if it is not known of all."""
    known = [images for images in by_class if images is not None]
    return torch.stack(known) if known and len(known) == len(by_class) else None


def _normal(name: str) -> str:
    """As `common.images.folder.photo_folder.relabel` compares names."""
    return unicodedata.normalize("NFC", name)
