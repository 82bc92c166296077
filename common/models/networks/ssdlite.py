"""torchvision's SSDLite as a network with one plain result, and the reading of this result.

Liu et al. 2016, "SSD: Single Shot MultiBox Detector"; Sandler et al. 2018, "MobileNetV2", Section
6.2 (SSDLite); Howard et al. 2019, "Searching for MobileNetV3", Section 6.3. Each of 3,234 anchors
tells a class, or the background, and four distances to its box.

torchvision's detectors scale photos, compute losses and select boxes within one call. Here the call
ends with the network's own numbers, in training and in evaluation, for photos are scaled before;
torchvision's own code computes losses and boxes of these numbers, for each photo alone.
"""

from collections.abc import Sequence
from functools import lru_cache

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

SIDE = 320  # pixels, of a photo
LEVELS = (20, 10, 5, 3, 2, 1)  # cells of each map in a row
DISTANCES = 4
CLASS_LAYERS = tuple(
    f"head.classification_head.module_list.{level}.1" for level in range(len(LEVELS))
)
# of `ssdlite320_mobilenet_v3_large` in torchvision, but for the score
LEAST_SCORE = 0.05
MAX_OVERLAP = 0.55
MAX_BOXES = 300


class PlainSSD(SSD):  # type: ignore[misc]  # torchvision has no types
    """An SSD whose result is that of its head."""

    def forward(self, images: Tensor, _: None = None) -> Tensor:
        """Return float32 [N, A, 1 + C + 4]: scores of background and classes, and distances.

        Args:
            images: float32 [N, 3, 320, 320], normalised
        """
        told = self.head(list(self.backbone(images).values()))
        return torch.cat([told["cls_logits"], told["bbox_regression"]], dim=2)


def build(name: str, classes: int, image_size: int) -> nn.Module:
    """Return the network: float32 [N, 3, 320, 320] to [N, A, 1 + C + 4].

    Args:
        name: in torchvision
        classes: C
        image_size: 320 pixels
    """
    assert image_size == SIDE, image_size
    module: nn.Module = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=1 + classes
    )
    module.__class__ = PlainSSD
    return module


@lru_cache(maxsize=1)
def _reader() -> SSD:
    """Return torchvision's SSD without layers: its losses and its selection of boxes."""
    return SSD(
        nn.Identity(),
        DefaultBoxGenerator([[2, 3] for _ in LEVELS], min_ratio=0.2, max_ratio=0.95),
        (SIDE, SIDE),
        2,
        head=nn.Identity(),
        score_thresh=LEAST_SCORE,
        nms_thresh=MAX_OVERLAP,
        detections_per_img=MAX_BOXES,
        topk_candidates=MAX_BOXES,
    )


@lru_cache(maxsize=4)
def _anchors(device: torch.device) -> Tensor:
    """Return the anchors of a photo: corners in pixels, float32 [A, 4]."""
    photo = torch.zeros(1, 3, SIDE, SIDE, device=device)
    maps = [torch.zeros(1, 1, level, level, device=device) for level in LEVELS]
    with torch.inference_mode(mode=False), torch.no_grad():
        anchors: Tensor = _reader().anchor_generator(ImageList(photo, [(SIDE, SIDE)]), maps)[0]
    return anchors.clone()


def detection_losses(outputs: Tensor, boxes: Sequence[Tensor]) -> Tensor:
    """Return the loss of each photo, float32 [N]: of distances, and of classes.

    Each is a sum divided by the photo's anchors with a product, at least 1. torchvision divides by
    those of the whole batch; here a photo's loss does not depend on the others.

    Args:
        outputs: float32 [N, A, 1 + C + 4]
        boxes: of each photo, float32 [K, 5]: corners in pixels and the class, from 0
    """
    reader, anchors = _reader(), _anchors(outputs.device)
    losses = []
    for told, of_photo in zip(outputs, boxes, strict=True):
        if len(of_photo):
            matched = reader.proposal_matcher(box_iou(of_photo[:, :4], anchors))
        else:
            matched = torch.full((len(anchors),), -1, device=outputs.device)
        parts = reader.compute_loss(
            [{"boxes": of_photo[:, :4], "labels": of_photo[:, 4].long() + 1}],
            _parts(told[None]),
            [anchors],
            [matched],
        )
        losses.append(parts["bbox_regression"] + parts["classification"])
    return torch.stack(losses)


def detections(outputs: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the boxes on each of N photos, the surest first.

    Args:
        outputs: float32 [N, A, 1 + C + 4]

    Returns:
        For each photo corners in its pixels, float32 [K, 4], classes from 0, int64 [K], and scores,
        float32 [K].
    """
    count = len(outputs)
    found = _reader().postprocess_detections(
        _parts(outputs), [_anchors(outputs.device)] * count, [(SIDE, SIDE)] * count
    )
    return [(one["boxes"], one["labels"] - 1, one["scores"]) for one in found]


def _parts(outputs: Tensor) -> dict[str, Tensor]:
    """Return the parts of a result by torchvision's names."""
    scores, distances = outputs[..., :-DISTANCES], outputs[..., -DISTANCES:]
    return {"cls_logits": scores, "bbox_regression": distances}
