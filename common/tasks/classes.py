"""The task to tell the class of the product on a photo."""

import torch
from torch import Tensor
from torch.nn import functional

from fedshelf.common.config import TrainConfig
from fedshelf.common.images.augment import Blend
from fedshelf.common.tasks.task import Task


class Classes(Task):
    """One class for each photo: cross-entropy, or squared error, of the class scores."""

    name = "classes"

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch (see `objective`)."""
        return objective(outputs, targets, config, blend, offsets)

    def image_losses(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the terms [B] whose mean is `loss`."""
        return image_losses(outputs, targets, config, blend, offsets)


def objective(
    logits: Tensor,
    targets: Tensor,
    config: TrainConfig,
    blend: Blend | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """Return the loss of a batch (a scalar).

    It is the cross-entropy, or the mean over images and classes of (softmax(logits) - target)^2.
    `label_smoothing` spreads its share of the target over all classes (see `soft_targets`).

    Args:
        logits: [B, C]
        targets: int64 [B]
        config: loss and label smoothing
        blend: if given, a term is share L(target) + (1 - share) L(other)
        offsets: float32, [C] or [B, C], added to the logits. With the logarithms of a store's
            shares of the classes, the loss is the re-weighted softmax of Legate, Caccia and
            Belilovsky (CoLLAs 2023).
    """
    if blend is not None or (offsets is not None and config.label_smoothing):
        return image_losses(logits, targets, config, blend, offsets).mean()
    if offsets is not None:
        logits = logits + offsets
    if config.loss == "cross-entropy":
        return functional.cross_entropy(logits, targets, label_smoothing=config.label_smoothing)
    one_hot = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    smoothed = one_hot * (1 - config.label_smoothing) + config.label_smoothing / logits.shape[1]
    return functional.mse_loss(logits.softmax(dim=1), smoothed)


def image_losses(
    logits: Tensor,
    targets: Tensor,
    config: TrainConfig,
    blend: Blend | None = None,
    offsets: Tensor | None = None,
) -> Tensor:
    """Return the terms [B] whose mean is `objective`; shapes as there."""
    if blend is not None:
        target_losses, blended_losses = (
            image_losses(logits, labels, config, None, offsets)
            for labels in (targets, blend.others)
        )
        return torch.lerp(blended_losses, target_losses, blend.shares)
    smoothing = config.label_smoothing
    if offsets is not None:
        logits = logits + offsets
        if smoothing:
            return _soft_target_losses(logits, soft_targets(targets, smoothing, offsets), config)
    if config.loss == "cross-entropy":
        return functional.cross_entropy(
            logits, targets, reduction="none", label_smoothing=smoothing
        )
    spread = smoothing / logits.shape[1]
    smoothed = torch.full_like(logits, spread).scatter_(1, targets[:, None], 1 - smoothing + spread)
    return functional.mse_loss(logits.softmax(dim=1), smoothed, reduction="none").mean(dim=1)


def soft_targets(targets: Tensor, smoothing: float, offsets: Tensor) -> Tensor:
    """Return (1 - smoothing) onehot(target) + smoothing softmax(offsets): float32 [B, C].

    A network that cannot tell the classes apart has equal logits, so its softmax is that of the
    offsets. Smoothing towards this asks for logits that are less confident. Smoothing towards an
    even spread would ask a store to raise the classes that it lacks: at 3% of an even share each,
    an even spread gives them 33 times what the offsets do.

    Args:
        targets: int64 [B]
        smoothing: share of the target that is spread, 0 to 1
        offsets: float32 [C] or [B, C]
    """
    shares = offsets.softmax(dim=-1).expand(len(targets), -1)
    return (smoothing * shares).scatter_add(
        1, targets[:, None], shares.new_full((len(targets), 1), 1 - smoothing)
    )


def _soft_target_losses(logits: Tensor, soft: Tensor, config: TrainConfig) -> Tensor:
    """Return the terms [B] for targets that are shares of the classes, [B, C]."""
    if config.loss == "cross-entropy":
        return functional.cross_entropy(logits, soft, reduction="none")
    return functional.mse_loss(logits.softmax(dim=1), soft, reduction="none").mean(dim=1)
