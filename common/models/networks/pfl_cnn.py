"""The network of pfl-research's CIFAR-10 benchmark: 1,626,442 parameters at 32x32x3 and 10 classes.

Granqvist, Song, Cahill, van Dalen, Pelikan, Chan, Feng, Krishnaswami, Jina and Chitnis 2024,
"pfl-research: simulation framework for accelerating research in Private Federated Learning": two
3x3 convolutions of 32 and 64 channels without padding, one 2x2 max pooling, dropout 1/4, a dense
layer of 128 units, dropout 1/2. Initial weights are drawn uniformly as by Glorot and Bengio 2010.
"""

from torch import nn


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Return the network: float32 [N, channels, image_size, image_size] to logits [N, classes].

    Args:
        classes: number of classes
        image_size: pixels, side of the images, at least 6
        channels: 1 (grey) or 3 (RGB)
    """
    side = (image_size - 4) // 2
    module = nn.Sequential(
        nn.Conv2d(channels, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(64 * side**2, 128), nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, classes),
    )  # fmt: skip
    for layer in module:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
    return module
