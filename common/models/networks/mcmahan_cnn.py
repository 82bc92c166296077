"""The convolutional network of the FedAvg paper: 1,663,370 parameters at 28x28x1, 2,156,490 at
32x32x3.

McMahan, Moore, Ramage, Hampson and Agüera y Arcas 2017, "Communication-Efficient Learning of Deep
Networks from Decentralized Data", section 3: two 5x5 convolutions of 32 and 64 channels that keep
the image's size, each followed by 2x2 max pooling, then a dense layer of 512 units.
"""

from torch import nn


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, image_size, image_size] to logits [N, classes].

    Args:
        classes: number of classes
        image_size: pixels, side of the images, at least 4
        channels: 1 (grey) or 3 (RGB)
    """
    side = image_size // 4
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * side**2, 512), nn.ReLU(),
        nn.Linear(512, classes),
    )  # fmt: skip
