"""Evaluation on the server's own test set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fedshelf.common.images.types import Images
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.head import set_training
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.seeding import rng
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.system.device import pick_device
from fedshelf.common.training.evaluate import evaluate, features, scores
from fedshelf.common.training.fit import Network
from fedshelf.server.results.scenes.examples import ScenePhotos

GRADIENT_BATCH = 32  # images whose gradient is taken at once


class ModelEvaluator(Protocol):
    """Evaluator of models on the server's own test set."""

    def __call__(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Return the counts of the model `params` (float32 [P]).

        They have its confidence at `temperatures` if given.
        """


class FeatureSample(Protocol):
    """Returns the features of some of the server's test images.

    Attributes:
        targets: int64 [N], their classes
    """

    targets: NDArray[np.int64]

    def __call__(self, params: Tensor) -> NDArray[np.float64]:
        """Return the features [N, d] that the head of the model `params` (float32 [P]) gets."""

    def gradient(self, params: Tensor, of: int, label: int, images: int, turn: int) -> Tensor:
        """Return the gradient (float32 [T]) of the mean loss at `params` (float32 [P]).

        The loss is over images of class `of` as if they had this label: over at most `images` of
        them, others at each turn.
        """


class ServerEvaluator:
    """Evaluates parameters on images that the server holds, with a resident network."""

    def __init__(self, plan: Plan, images: Images, device: torch.device) -> None:
        keep_freed_memory()
        self._network = Network(plan.spec, device)
        if plan.frozen is not None:
            self._network.load_frozen(plan.frozen)
        self._images = images.to(device)
        self._batch_size = plan.config.evaluation.batch_size
        self._metrics = formulas.chosen(plan.config)

    def sample(self, count: int, seed: int) -> "ServerSample":
        """Return a sample of at most `count` images, evenly of every class if possible.

        The sample shares the network.
        """
        chosen = rng(seed, "sample").permutation(len(self._images))
        labels = self._images.targets().cpu().numpy()
        by_class = [
            np.flatnonzero(labels[chosen] == label)
            for label in range(len(self._network.spec.classes))
        ]
        rank = np.empty(len(chosen), dtype=np.int64)  # of each image among those of its class
        for of_class in by_class:
            rank[of_class] = np.arange(len(of_class))
        first = chosen[np.argsort(rank, kind="stable")[:count]]
        few = self._images.select(torch.from_numpy(np.sort(first)).to(self._images.rows.device))
        return ServerSample(self._network, few, self._batch_size)

    def __call__(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Return the counts of the model `params` (float32 [P]).

        They have its confidence at `temperatures` if given.
        """
        self._network.load(params)
        (counts,) = evaluate(
            self._network, [self._images], self._batch_size, temperatures, self._metrics
        )
        return counts


class ServerSample:
    """Some of the server's images.

    targets: int64 [N], their classes
    """

    def __init__(self, network: Network, images: Images, batch_size: int) -> None:
        self._network = network
        self._images = images
        self._batch_size = batch_size
        self.targets: NDArray[np.int64] = images.targets().cpu().numpy()

    def __call__(self, params: Tensor) -> NDArray[np.float64]:
        """Return the features [N, d] that the head of the model `params` (float32 [P]) gets."""
        self._network.load(params)
        return features(self._network, self._images, self._batch_size).double().cpu().numpy()

    def gradient(self, params: Tensor, of: int, label: int, images: int, turn: int) -> Tensor:
        """Return the gradient (float32 [T]) of the mean loss at `params` (float32 [P]).

        The loss is over images of class `of` as if they had this label: over at most `images` of
        them, others at each turn.
        """
        of_class = np.flatnonzero(self.targets == of)
        chosen = of_class[(np.arange(min(images, len(of_class))) + turn * images) % len(of_class)]
        network = self._network
        network.load(params)
        set_training(network.module, mode=False)
        total = torch.zeros_like(network.weights)
        for rows in self._images.select(
            torch.from_numpy(chosen).to(self._images.rows.device)
        ).rows.split(GRADIENT_BATCH):
            with torch.enable_grad():
                logits = scores(network, self._images, rows)
                targets = torch.full_like(rows, label)
                total += network.gradient(
                    functional.cross_entropy(logits, targets, reduction="sum")
                )
        return total / len(chosen)


def build_evaluator(plan: Plan, images: Images | None) -> ServerEvaluator | None:
    """Return the evaluator of models on these images; None if there are none."""
    return (
        ServerEvaluator(plan, images, pick_device(plan.config.run.device))
        if images is not None
        else None
    )


@dataclass(frozen=True)
class Evaluators:
    """The server's own evaluators; each is None if the server has no images for it.

    Attributes:
        test: evaluates models on the server's test images
        validation: evaluates models on images that the server holds out to choose rounds by; None:
            the stores do that, or rounds are not compared
        sample: returns features of test images, to examine single updates
        scenes: the test photos, if they are of scenes, for the report
    """

    test: ModelEvaluator | None = None
    validation: ModelEvaluator | None = None
    sample: FeatureSample | None = None
    scenes: ScenePhotos | None = None


NO_EVALUATORS = Evaluators()
