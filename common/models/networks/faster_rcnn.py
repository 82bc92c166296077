"""torchvision's Faster R-CNN as a network with one plain result, and the reading of this result.

Ren et al. 2015, "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks";
Lin et al. 2017, "Feature Pyramid Networks for Object Detection". A first stage proposes boxes, a
second one judges each of them. A loss is of some anchors and proposals alone, which are drawn at
random around the products; so the network needs the products before it can tell its loss.

torchvision's network scales photos first. Here photos are scaled before, and both stages are its
own code, called for each photo alone: no photo's loss or boxes depend on the others of its batch,
but for batch norm.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList

CORNERS = 4
CLASS_LAYERS = ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")
MAX_BOXES = 300  # of all classes on a photo; torchvision has 100, and a shelf may hold more
# of the draws of an evaluation, the same for each photo
EVALUATION_SEED = 0
PARTS = ("loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg")


class TwoStages(FasterRCNN):  # type: ignore[misc]  # torchvision has no types
    """A Faster R-CNN whose result is one tensor.

    It looks at its mode, so that no copy of it may stand for it (see `common.native.fuse`).
    """

    looks_at_mode = True

    def forward(self, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return float32 [N, 1 + K, 4 + C], for each photo a row of losses and K rows of boxes.

        The first four numbers of the first row are the parts of the photo's loss, in the order of
        `PARTS`; without targets they are 0. A row of a box has its corners in pixels and its score
        at the place of its class; rows without a score are no boxes. While it trains, K is 0.

        Args:
            images: float32 [N, 3, S, S], normalised
            targets: the products on each photo, float32 [N, L, 5]: corners in pixels and the class,
                from 0; rows without an area or with a class below 0 are none. Only in evaluation
                they may be missing.
        """
        assert targets is not None or not self.training, "its loss is told to known products alone"
        maps = self.backbone(images)
        rows = []
        for index, image in enumerate(images):
            photo = ImageList(image[None], [tuple(image.shape[-2:])])
            own = {name: level[index : index + 1] for name, level in maps.items()}
            losses = self._no_rows(image, 1)
            if targets is not None:
                with nullcontext() if self.training else _draws_of_evaluation():
                    losses[0, : len(PARTS)] = self._losses(photo, own, _products(targets[index]))
            rows.append(losses if self.training else torch.cat([losses, self._boxes(photo, own)]))
        return torch.stack(rows)

    def _losses(
        self, photo: ImageList, maps: Mapping[str, Tensor], products: Mapping[str, Tensor]
    ) -> Tensor:
        """Return the parts of the loss of one photo, float32 [4]."""
        with _as_in_training(self.rpn, self.roi_heads):
            proposals, losses = self.rpn(photo, maps, [products])
            if len(proposals[0]) + len(products["boxes"]):
                _, judged = self.roi_heads(maps, proposals, photo.image_sizes, [products])
                losses |= judged
        # a second stage that has nothing to judge makes no mistake
        nothing = torch.zeros((), device=photo.tensors.device)
        return torch.stack([losses.get(part, nothing) for part in PARTS])

    def _boxes(self, photo: ImageList, maps: Mapping[str, Tensor]) -> Tensor:
        """Return the boxes on one photo, float32 [K, 4 + C], the surest first."""
        proposals, _ = self.rpn(photo, maps)
        found = self.roi_heads(maps, proposals, photo.image_sizes)[0][0]
        rows = self._no_rows(photo.tensors, MAX_BOXES)
        places = torch.arange(len(found["labels"]), device=rows.device)
        rows[places, :CORNERS] = found["boxes"]
        rows[places, CORNERS - 1 + found["labels"]] = found["scores"]
        return rows

    def _no_rows(self, like: Tensor, count: int) -> Tensor:
        """Return zeros, float32 [count, 4 + C], on the device of a tensor."""
        classes = self.roi_heads.box_predictor.cls_score.out_features - 1
        return torch.zeros(count, CORNERS + classes, device=like.device)


class SamplerOnCpu(BalancedPositiveNegativeSampler):  # type: ignore[misc]  # no types
    """torchvision's choice of anchors and proposals, drawn on the CPU: alike on all devices."""

    def __call__(self, labels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return masks of the chosen positives and negatives, each uint8 [A] for each photo.

        Args:
            labels: [A] for each photo: above 0 positive, 0 negative, below 0 neither
        """
        device = labels[0].device
        chosen = super().__call__([one.cpu() for one in labels])
        positives, negatives = ([mask.to(device) for mask in masks] for masks in chosen)
        return positives, negatives


def build(name: str, classes: int) -> nn.Module:
    """Return the network: float32 [N, 3, S, S] to [N, 1 + K, 4 + C] (see `TwoStages`).

    Args:
        name: in torchvision
        classes: C
    """
    module: Any = torchvision.models.get_model(
        name,
        weights=None,
        weights_backbone=None,
        num_classes=1 + classes,
        box_detections_per_img=MAX_BOXES,
    )
    module.__class__ = TwoStages
    for stage in (module.rpn, module.roi_heads):
        stage.fg_bg_sampler.__class__ = SamplerOnCpu
    # corners in bfloat16 would be off by whole pixels
    for layer in (module.rpn.head, module.roi_heads.box_predictor):
        layer.register_forward_hook(_in_float32)
    network: nn.Module = module
    return network


def photo_losses(results: Tensor) -> Tensor:
    """Return the loss of each photo, float32 [N], the sum of its parts.

    Args:
        results: float32 [N, 1 + K, 4 + C], for known products
    """
    return results[:, 0, : len(PARTS)].sum(1)


def detections(results: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return the boxes on each of N photos, the surest first.

    Args:
        results: float32 [N, 1 + K, 4 + C]

    Returns:
        For each photo corners in its pixels, float32 [K, 4], classes from 0, int64 [K], and scores,
        float32 [K].
    """
    found = []
    for rows in results[:, 1:]:
        scores, labels = rows[:, CORNERS:].max(1)
        is_box = scores > 0
        found.append((rows[is_box, :CORNERS], labels[is_box], scores[is_box]))
    return found


def _products(rows: Tensor) -> dict[str, Tensor]:
    """Return the products among rows of annotations, float32 [L, 5], in torchvision's form."""
    known = rows[(rows[:, 2:4] > rows[:, :2]).all(1) & (rows[:, 4] >= 0)]
    return {"boxes": known[:, :CORNERS], "labels": known[:, CORNERS].long() + 1}


@contextmanager
def _as_in_training(*stages: nn.Module) -> Iterator[None]:
    """Let stages draw and tell losses, in whatever mode their layers are."""
    modes = [stage.training for stage in stages]
    try:
        for stage in stages:
            stage.training = True
        yield
    finally:
        for stage, mode in zip(stages, modes, strict=True):
            stage.training = mode


@contextmanager
def _draws_of_evaluation() -> Iterator[None]:
    """Draw the same for each photo; the generator of a training stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(EVALUATION_SEED)
        yield


def _in_float32(_: nn.Module, __: Any, told: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return a layer's numbers in float32: two tensors, or two lists of tensors."""
    scores, distances = (
        part.float() if isinstance(part, Tensor) else [level.float() for level in part]
        for part in told
    )
    return scores, distances
