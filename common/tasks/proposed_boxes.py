"""The task of boxes for detectors with two stages (see `common.models.networks.faster_rcnn`)."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fedshelf.common.config import TrainConfig
from fedshelf.common.images.augment import Blend
from fedshelf.common.tasks.anchored_boxes import AnchoredBoxes
from fedshelf.common.tasks.task import Forward


class ProposedBoxes(AnchoredBoxes):
    """Boxes that a detector with two stages tells, and the loss that it tells itself."""

    def results(self, forward: Forward, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the results of the network, which needs the products to tell its loss."""
        return forward(inputs, targets)

    def image_losses(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each photo [B], which is among the outputs (see `results`)."""
        from fedshelf.common.models.networks.faster_rcnn import photo_losses  # late: torchvision

        assert blend is None
        assert offsets is None
        return photo_losses(outputs)

    def ignorant_loss(self, classes: int) -> float:
        """Return the loss of a detector's first answer.

        It is log 2 for anchors, log(1 + C) for proposals, and about 0.5 for the distances of both.
        """
        return 0.5 + float(np.log(2) + np.log(1 + classes))

    def classes_told(self, outputs: Tensor) -> int:
        """Return the number of classes C, from a result [B, 1 + K, 4 + C]."""
        return outputs.shape[2] - 4

    def detections(self, outputs: Tensor) -> Sequence[tuple[Tensor, Tensor, Tensor]]:
        """Return corners, classes and scores of the boxes on each of B photos.

        Args:
            outputs: float32 [B, 1 + K, 4 + C]
        """
        from fedshelf.common.models.networks.faster_rcnn import detections  # late: torchvision

        return detections(outputs)
