"""torchvision's segmenters and detectors, by their torchvision names, for photos of scenes.

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation" (DeepLabV3);
Howard et al. 2019, "Searching for MobileNetV3", Section 6.4 (LR-ASPP); Long, Shelhamer and Darrell
2015, "Fully Convolutional Networks for Semantic Segmentation".

The layers with a row for each class are made anew for the run's classes; published weights fill all
others. The auxiliary classifier is left out, as torchvision leaves it out of a network without
weights: it is a second loss for training, and no part of the result.
"""

from functools import partial
from typing import Any

import torchvision
from torch import Tensor, nn

from fedshelf.common.models import DETECTORS, TWO_STAGE_DETECTORS
from fedshelf.common.models.head import name_class_layers
from fedshelf.common.models.networks import faster_rcnn, ssdlite
from fedshelf.common.models.spec import ModelInfo, accept_grey
from fedshelf.common.models.torchvision_zoo import default_weights

LEAST_SIDE = 32  # pixels; the coarsest map then has 2 by 2 cells

# of torchvision's Faster R-CNN: the shorter side of its photos (pixels), and their scaling
SMALL_FASTER_RCNN = "fasterrcnn_mobilenet_v3_large_320_fpn"
SMALL_SIDE = 320
LARGE_SIDE = 800
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_LAST = ("classifier.4",)
_CLASS_LAYERS = {  # with a row for each class
    "deeplabv3_mobilenet_v3_large": _LAST,
    "fcn_resnet50": _LAST,
    "lraspp_mobilenet_v3_large": ("classifier.low_classifier", "classifier.high_classifier"),
}


def find(name: str) -> ModelInfo:
    """Return torchvision's documented facts about one of its networks for scenes."""
    if name in DETECTORS:
        half = (0.5, 0.5, 0.5)  # the mean and deviation of torchvision's SSDLite
        build_detector = partial(_build_ssdlite, name)
        side = ssdlite.SIDE
        return ModelInfo(
            build_detector, side, side, fixed_size=True, mean=half, std=half, output="boxes"
        )
    if name in TWO_STAGE_DETECTORS:
        is_small = name == SMALL_FASTER_RCNN
        return ModelInfo(
            build=partial(_build_faster_rcnn, name),
            default_size=SMALL_SIDE if is_small else LARGE_SIDE,
            min_size=SMALL_SIDE,
            fixed_size=is_small,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            output="boxes",
        )
    preset = default_weights(name).transforms()
    return ModelInfo(
        build=partial(_build, name),
        default_size=preset.resize_size[0],
        min_size=LEAST_SIDE,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        output="masks",
    )


def _build(name: str, classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, H, W] to class scores [N, classes, H, W]."""
    assert image_size >= LEAST_SIDE, image_size
    module: nn.Module = torchvision.models.get_model(
        name, weights=None, weights_backbone=None, num_classes=classes
    )
    name_class_layers(module, _CLASS_LAYERS[name])
    module.register_forward_hook(_scores)
    return accept_grey(module) if channels == 1 else module


def _build_ssdlite(name: str, classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, 320, 320] to [N, A, 1 + C + 4]."""
    module = ssdlite.build(name, classes, image_size)
    name_class_layers(module, ssdlite.CLASS_LAYERS)
    return accept_grey(module) if channels == 1 else module


def _build_faster_rcnn(name: str, classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, S, S] to [N, 1 + K, 4 + C]."""
    assert image_size >= SMALL_SIDE, image_size
    module = faster_rcnn.build(name, classes)
    name_class_layers(module, faster_rcnn.CLASS_LAYERS)
    return accept_grey(module) if channels == 1 else module


def _scores(_: nn.Module, __: Any, outputs: dict[str, Tensor]) -> Tensor:
    """Return the class scores among torchvision's results, which have names."""
    return outputs["out"]
