"""The networks of the benchmarks as one writes them by hand: layers only, no library of ours."""

from torch import nn


def build(name: str, classes: int = 10) -> nn.Module:
    """Build a network for float32 [N, 3, 32, 32], with logits [N, classes].

    Args:
        name: "niid-cnn", "mcmahan-cnn" or "pfl-cnn"
        classes: number of classes
    """
    if name == "niid-cnn":  # 62,006 parameters
        return nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, classes),
        )  # fmt: skip
    if name == "mcmahan-cnn":  # 2,156,490 parameters
        return nn.Sequential(
            nn.Conv2d(3, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(4096, 512), nn.ReLU(), nn.Linear(512, classes),
        )  # fmt: skip
    assert name == "pfl-cnn", name  # 1,626,442 parameters
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(12544, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, classes),
    )  # fmt: skip
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)
    return net
