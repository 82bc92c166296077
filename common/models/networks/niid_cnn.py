"""The network of NIID-Bench: 62,006 parameters at 32x32x3 and 10 classes.

Li, Diao, Chen and He 2022, "Federated Learning on Non-IID Data Silos: An Experimental Study":
two 5x5 convolutions of 6 and 16 channels, each followed by 2x2 max pooling, then dense
layers of 120 and 84 units (LeNet-5 of LeCun et al. 1998 with ReLU and three input channels).
"""

from torch import nn


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, image_size, image_size] to logits [N, classes].

    Args:
        classes: number of classes
        image_size: pixels, side of the images, at least 16
        channels: 1 (grey) or 3 (RGB)
    """
    side = ((image_size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side**2, 120), nn.ReLU(),
        nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, classes),
    )  # fmt: skip
