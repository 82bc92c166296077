"""FedAvg as one would write it by hand in PyTorch: the bare loop that a simulator is measured against.

One process, one model, torch.optim.SGD, images as one float tensor, stores one after another.
Prints one line of JSON: accuracy after each round, images per second of training, seconds.

    python benchmarks/plain_loop.py DATASET [--stores 10 --rounds 5 --epochs 1 --batch-size 32 --lr 0.01]
"""

import argparse
import json
import time

import torch
from torch import Tensor, nn
from torch.nn import functional

from common.config import resolve
from common.images.decode import PixelFormat
from common.images.types import Images
from simulations import datasets


class Net(nn.Module):
    """The 62,006-parameter network of NIID-Bench."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2).flatten(1)
        return self.fc3(functional.relu(self.fc2(functional.relu(self.fc1(x)))))


def as_tensors(images: Images) -> tuple[Tensor, Tensor]:
    pixels = images.pixels[images.rows].permute(0, 3, 1, 2).float()
    return ((pixels / 255 - 0.5) / 0.25).contiguous(), images.targets()


def train_store(model: Net, x: Tensor, y: Tensor, options: argparse.Namespace) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=options.lr, momentum=0.9)
    for _ in range(options.epochs):
        for batch in torch.randperm(len(x)).split(options.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    defaults = {"stores": 10, "rounds": 5, "epochs": 1, "batch-size": 32, "seed": 1, "threads": 0}
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--lr", type=float, default=0.01)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    data = datasets.load(resolve({"data.dataset": options.dataset}).data, PixelFormat(32))
    x, y = as_tensors(data.train)
    test_x, test_y = as_tensors(data.test)
    parts = torch.randperm(len(x)).tensor_split(options.stores)
    model, accuracies, training = Net(), [], 0.0
    for _ in range(options.rounds):
        start, sums = {k: v.clone() for k, v in model.state_dict().items()}, None
        began = time.perf_counter()
        for part in parts:
            model.load_state_dict(start)
            train_store(model, x[part], y[part], options)
            share = {k: v * (len(part) / len(x)) for k, v in model.state_dict().items()}
            sums = share if sums is None else {k: sums[k] + share[k] for k in sums}
        training += time.perf_counter() - began
        model.load_state_dict(sums)
        with torch.no_grad():
            right = sum(
                int((model(a).argmax(1) == b).sum())
                for a, b in zip(test_x.split(1000), test_y.split(1000), strict=True)
            )
        accuracies.append(right / len(test_y))
    speed = len(x) * options.rounds * options.epochs / training
    print(json.dumps({"accuracy": accuracies, "images_per_second": speed, "train_seconds": training}))


if __name__ == "__main__":
    main()
