"""Our own small network, for 32 to 64 px on a CPU: 26,266 parameters at 32x32x3 and 10 classes.

Three blocks of 3x3 convolution (16, 32, 64 channels), 2x2 max pooling, group norm (Wu and He 2018,
"Group Normalization", 8 groups) and ReLU; the mean over a 2x2 grid; one dense layer. We chose it by
measurement among some 40 designs (`docs/log.md`). Pooling before the norm quarters the norm's cost.
A 2x2 grid survives federated averaging better than a flattened map, whose large dense layer drifts
apart between stores, and learns faster than a global mean.
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
    cell = max(1, side // 2)
    return nn.Sequential(
        *_block(channels, 16),
        *_block(16, 32),
        *_block(32, 64),
        nn.AvgPool2d(cell), nn.Flatten(),
        nn.Linear(64 * (side // cell) ** 2, classes),
    )  # fmt: skip


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a convolution that keeps the side, a pooling that halves it, group norm and ReLU."""
    return [
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.GroupNorm(8, outputs),
        nn.ReLU(),
    ]
