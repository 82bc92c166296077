"""placeholder."""

from torch import nn


def build(classes: int, image_size: int, channels: int) -> nn.Module:
    """Float32 [N, channels, image_size, image_size] -> logits [N, classes]; at least 8 px."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 4, stride=2, padding=1), nn.GroupNorm(8, 32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1), nn.MaxPool2d(2), nn.GroupNorm(8, 64), nn.ReLU(),
        nn.Conv2d(64, 128, 3, padding=1), nn.MaxPool2d(2), nn.GroupNorm(8, 128), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128 * 16, classes),
    )  # fmt: skip
