"""The base of all tasks: how targets become a loss, and outputs become counts.

A task is what a run's model learns (`train.objective`). Strategies, engines, compression, privacy
and messages act on the vector of the weights, and know nothing of it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.config import DataConfig, RunConfig, TrainConfig
from fedshelf.common.images.augment import BatchBounds, Blend, augment
from fedshelf.common.images.types import Images
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.models.spec import Output
from fedshelf.common.scenes.scene_classes import SceneClasses

Forward = Callable[..., Tensor]
"""Maps the inputs of a batch, [B, ...], to a network's results; its task may add the targets."""


class Task(ABC):
    """A task of learning.

    Attributes:
        name: the value of `train.objective`
        output: the kind of network that it needs (`common.models.spec.ModelInfo.output`)
        classes: the outputs' names if the task has its own; empty: the stores' products
        metric: the figure that decides the best round unless another one is chosen
    """

    name: ClassVar[str]
    output: ClassVar[Output] = "classes"
    classes: ClassVar[tuple[str, ...]] = ()
    metric: ClassVar[str] = "accuracy"

    def own_classes(self, named: tuple[str, ...]) -> tuple[str, ...]:
        """Return the outputs' names if the stores do not decide them; (): they do.

        Args:
            named: those that the settings name (`data.classes`)
        """
        return self.classes

    def augment(
        self,
        pixels: Tensor,
        targets: Tensor,
        config: DataConfig,
        numbers: Tensor,
        batches: BatchBounds,
    ) -> tuple[Tensor, Tensor, Blend | None]:
        """Return augmented pixels, the targets that go with them, and the blend of mixed images.

        Args:
            pixels: uint8 [B, S, S, C]
            targets: int64 [B], or annotations [B, ...]
            config: its augmentation options
            numbers: float64 [B, D] of a `DrawStream`, on the device of the pixels
            batches: the batches within which images are mixed
        """
        pixels, blend = augment(pixels, targets, config, numbers, batches)
        return pixels, targets, blend

    def vary(
        self, pixels: Tensor, targets: Tensor, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return a training batch as the task changes it, after augmentation: here as it is.

        Args:
            pixels: [B, S, S, C]
            targets: of these images
            generator: source of the changes, addressed by seed, round and store
        """
        return pixels, targets

    def posed(self, pixels: Tensor, targets: Tensor) -> Tensor:
        """Return pixels [B, S, S, C] as an evaluation shows them: here as they are."""
        return pixels

    def results(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return a network's results for a batch whose targets are known, float32 [B, ...].

        All losses are computed of them, in training and in evaluation. Here they are of the inputs
        alone; a network that needs the targets before it can tell its loss is given both.

        Args:
            forward: the network's
            inputs: normalised pixels [B, channels, H, W], or features [B, ...]
            targets: of these images
        """
        return forward(inputs)

    def loss(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch, a scalar: the mean over its images.

        Args:
            outputs: of the network (`results`), float32 [B, ...]
            targets: of these images
            config: the run's training settings
            blend: the images that are mixed in, or None
            offsets: float32 [C], added to class scores; None: nothing
        """
        return self.image_losses(outputs, targets, config, blend, offsets).mean()

    def ignorant_loss(self, classes: int) -> float:
        """Return the loss of a model that knows nothing, which gives all C classes the same."""
        return math.log(classes)

    @abstractmethod
    def image_losses(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each image [B]; arguments as for `loss`."""

    def refused(self, config: RunConfig) -> Mapping[str, bool]:
        """Return settings with which the task does not go: name -> whether the run has it."""
        return {}


class SceneTask(Task):
    """A task on photos of scenes, whose targets are annotations.

    A photo has no class: in `Counts` it counts as right or wrong, but in no cell of the confusion
    matrix. The products on it are all of one class, unless `data.classes` names several.
    """

    @abstractmethod
    def answers(self, outputs: Tensor, targets: Tensor) -> Sequence[tuple[Any, Any]]:
        """Return what a network says of each of B photos, and what people marked.

        Both are as the task's metrics are given them, without what nobody can tell.

        Args:
            outputs: of the network, float32 [B, ...]
            targets: annotations [B, ...]
        """

    @abstractmethod
    def products(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes of products among the names of a network's outputs.

        Without any, (), a product is a product, whatever its class.
        """

    def scene_classes(self, data: DataConfig) -> SceneClasses:
        """Return the classes by which a run's settings read labels of scenes."""
        outputs = self.own_classes(data.classes)
        return SceneClasses(outputs, self.products(outputs), data.merge_spellings)

    @abstractmethod
    def count(self, outputs: Tensor, targets: Tensor, losses: Tensor) -> Counts:
        """Return the counts of B photos.

        Args:
            outputs: of the network, float32 [B, ...]
            targets: annotations [B, ...]
            losses: float32 [B]
        """

    def refused(self, config: RunConfig) -> Mapping[str, bool]:
        """Return the settings that are for photos with a class, or move pixels without targets."""
        data, train = config.data, config.train
        return {
            "data.rotation": bool(data.rotation),
            "data.translate": bool(data.translate),
            "data.scale": bool(data.scale),
            "data.trivial_augment": data.trivial_augment,
            "data.augmentation": bool(data.augmentation),
            "data.erasing": bool(data.erasing),
            "data.mixup": bool(data.mixup),
            "data.cutmix": bool(data.cutmix),
            "train.loss": train.loss != "cross-entropy",
            "train.label_smoothing": bool(train.label_smoothing),
            "strategy.absent_classes": config.strategy.absent != "full",
            "model.freeze": config.model.freeze != "none",
            "screening.detect": config.screening.detect == "on",
        }


def unlabelled(images: Images) -> Images:
    """Return photos of scenes that all have the label 0: what they show is in annotations."""
    return replace(images, labels=torch.zeros_like(images.labels))


def no_classes(classes: int) -> np.ndarray:
    """Return a confusion matrix of no images and C classes, int64 [C, C]."""
    return np.zeros((classes, classes), np.int64)
