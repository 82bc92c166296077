"""The "moderate" CNN of federated CIFAR-10 benchmarks: 3,491,530 parameters at 32x32x3 and 10
classes.

First published with FedMA (Wang, Yurochkin, Sun, Papailiopoulos and Khazaeni 2020, "Federated
Learning with Matched Averaging") and used by NVFLARE's CIFAR-10 simulation: three pairs of 3x3
convolutions (32 and 64, 128 and 128, 256 and 256 channels), each pair followed by 2x2 max pooling,
then two dense layers of 512 units. The three dropout layers belong to the published network.
"""

from torch import nn


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, image_size, image_size] to logits [N, classes].

    Args:
        classes: number of classes
        image_size: pixels, side of the images, at least 8
        channels: 1 (grey) or 3 (RGB)
    """
    side = image_size // 8
    return nn.Sequential(
        *_pair(channels, 32, 64),
        *_pair(64, 128, 128), nn.Dropout2d(0.05),
        *_pair(128, 256, 256),
        nn.Flatten(), nn.Dropout(0.1),
        nn.Linear(256 * side**2, 512), nn.ReLU(),
        nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.1),
        nn.Linear(512, classes),
    )  # fmt: skip


def _pair(inputs: int, middle: int, outputs: int) -> list[nn.Module]:
    """Return two convolutions that keep the side, and a pooling that halves it."""
    return [
        nn.Conv2d(inputs, middle, 3, padding=1), nn.ReLU(),
        nn.Conv2d(middle, outputs, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2),
    ]  # fmt: skip
