"""The task of boxes for detectors with anchors (see `common.models.networks.ssdlite`)."""

from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from fedshelf.common.config import RunConfig, TrainConfig
from fedshelf.common.images.augment import Blend
from fedshelf.common.scenes.boxes import Boxes, surest
from fedshelf.common.tasks.boxes import LocatedBoxes


class AnchoredBoxes(LocatedBoxes):
    """Boxes that a detector tells relative to anchors.

    Products that are hardly seen are no targets; anchors on them may count as background.
    """

    def image_losses(
        self,
        outputs: Tensor,
        targets: Tensor,
        config: TrainConfig,
        blend: Blend | None = None,
        offsets: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of each photo [B]."""
        from fedshelf.common.models.networks.ssdlite import detection_losses  # late: torchvision

        assert blend is None
        assert offsets is None
        is_product = (targets[..., 2:4] > targets[..., :2]).all(-1) & (targets[..., 4] >= 0)
        boxes = [photo[known] for photo, known in zip(targets, is_product, strict=True)]
        return detection_losses(outputs.float(), boxes)

    def ignorant_loss(self, classes: int) -> float:
        """Return the loss of a detector's first answer.

        It is about 4 log(1 + C), of an anchor with a product and three without, and 12 for
        distances.
        """
        return 12.0 + 4 * float(np.log(1 + classes))

    def classes_told(self, outputs: Tensor) -> int:
        """Return the number of classes C, from a result [B, A, 1 + C + 4]."""
        return outputs.shape[2] - 5

    def found(self, outputs: Tensor) -> list[Boxes]:
        """Return the boxes on each of B photos, the surest first.

        Those beside the photo, of which its edges leave nothing, are no products.

        Args:
            outputs: of the network, float32 [B, ...]
        """
        is_one = self.classes_told(outputs) == 1
        told = [
            Boxes(
                corners.cpu().numpy(),
                np.full(len(labels), -1) if is_one else labels.cpu().numpy(),
                scores.cpu().numpy(),
            )
            for corners, labels, scores in self.detections(outputs.float())
        ]
        return [surest(boxes.select(boxes.areas > 0)) for boxes in told]

    def detections(self, outputs: Tensor) -> Sequence[tuple[Tensor, Tensor, Tensor]]:
        """Return corners, classes and scores of the boxes on each of B photos, the surest first.

        Args:
            outputs: float32 [B, A, 1 + C + 4]
        """
        from fedshelf.common.models.networks.ssdlite import detections  # late: torchvision

        return detections(outputs)

    def refused(self, config: RunConfig) -> Mapping[str, bool]:
        """Return also private training, which needs the gradient of each photo in one pass."""
        return {**super().refused(config), "privacy.clip": config.privacy.is_on}
