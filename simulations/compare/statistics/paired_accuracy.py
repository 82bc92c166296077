"""Correctness of models on held-out images, image by image."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.images.types import Images
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.metric import Metric
from fedshelf.common.training.fit import Network
from fedshelf.common.training.metric_sums import MetricSums
from fedshelf.common.training.predict import log_probabilities


@dataclass(frozen=True)
class Judged:
    """A model's results on one set of images.

    Attributes:
        right: bool [n], in the order of the images
        counts: the confusion matrix and the sum of the losses
    """

    right: NDArray[np.bool_]
    counts: Counts


@dataclass(frozen=True)
class Answers:
    """A model's results on one set of images, by its own scores and by those that a store uses.

    Attributes:
        raw: by the model's scores alone
        adjusted: with the logarithm of the store's class shares added
            (`common.strategies.shared.class_skew`); None if there is nothing to add
    """

    raw: Judged
    adjusted: Judged | None = None

    def used(self, *, is_adjusted: bool) -> Judged:
        """Return the adjusted results if they are asked for and exist, else the raw ones."""
        return self.adjusted if is_adjusted and self.adjusted is not None else self.raw


def judge(
    network: Network,
    images: Images,
    adjustment: Tensor | None,
    batch_size: int,
    metrics: Mapping[str, Metric] = formulas.NO_METRICS,
) -> Answers:
    """Judge the network's present weights on images.

    Args:
        network: the network, for C classes
        images: n images
        adjustment: float32 [C], added to the scores, or None
        batch_size: images at once
        metrics: further ones, by their names in the settings
    """
    log_probs = log_probabilities(network, images, batch_size)
    targets = images.targets().cpu()
    raw = judged(log_probs, targets, metrics)
    return Answers(
        raw,
        None
        if adjustment is None
        else judged((log_probs + adjustment).log_softmax(dim=1), targets, metrics),
    )


def judged(
    log_probabilities: Tensor,
    targets: Tensor,
    metrics: Mapping[str, Metric] = formulas.NO_METRICS,
) -> Judged:
    """Judge log-probabilities of images.

    Args:
        log_probabilities: float32 [N, C]
        targets: classes of the images, int64 [N]
        metrics: further ones, which are given the log-probabilities as scores
    """
    classes = log_probabilities.shape[1]
    guesses = log_probabilities.argmax(dim=1)
    cells = torch.bincount(targets * classes + guesses, minlength=classes**2)
    losses = -log_probabilities.gather(1, targets.view(-1, 1)).double().sum()
    counts = Counts(cells.view(classes, classes).numpy(), float(losses))
    if metrics and len(targets):
        counter = MetricSums(metrics, classes, [len(targets)])
        if counter.is_needed:
            counter.record(log_probabilities.numpy(), targets.numpy())
            counts = replace(counts, metrics=counter.sums()[0])
        counts = formulas.with_derived(counts, metrics)
    return Judged((guesses == targets).numpy(), counts)
