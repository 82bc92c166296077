"""Train FedAvg or SCAFFOLD by the papers' equations in plain PyTorch, and compare with ours.

    python -m benchmarks.published.plain a2-dirichlet-fedavg --rounds 10 --epochs 5
    python -m benchmarks.published.plain a2-dirichlet-scaffold --rounds 10 --epochs 5

Nothing of `common.strategies`, `common.training.fit`, `common.training.optimizers` or the engines
is used here: a module's own parameters, its own backward pass, torch.optim.SGD, and loops over
parameters. Images, their order, their augmentation and the first weights are those of the same
seed, so that both sides see the same batches. Differences come from rounding, which many steps
enlarge, and from mistakes.

    FedAvg (McMahan et al. 2017, Algorithm 1):   x <- sum_i (n_i / n) y_i,    y_i trained from x
    SCAFFOLD (Karimireddy et al. 2020, Algorithm 1, option II):
        y_i <- y_i - eta (g_i(y_i) - c_i + c),   c_i+ = c_i - c + (x - y_i) / (K eta)
        x <- sum_i (n_i / n) y_i,                c <- c + sum_i (n_i / n) (c_i+ - c_i)

With momentum beta, K is sum_k (1 - beta^k) / (1 - beta) over the K steps, which is K without.
"""

import argparse
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.published import cells, play
from fedshelf.common import models
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import FedshelfError
from fedshelf.common.images.augment import DrawStream, normalise, transform
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.seeding import rng
from fedshelf.simulations import datasets
from fedshelf.simulations.federation import federation

Batch = tuple[Tensor, Tensor]
Tensors = list[Tensor]


class Plain:
    """A federated training by loops over parameters.

    `model` is the global model, and `test` the server's test images.

    Args:
        config: the settings of the cell

    Raises:
        SystemExit: the algorithm is neither FedAvg nor SCAFFOLD, or the learning rate changes.
    """

    def __init__(self, config: RunConfig) -> None:
        if (
            config.strategy.name not in ("fedavg", "scaffold")
            or config.train.schedule != "constant"
        ):
            raise SystemExit(
                "Only fedavg and scaffold at a constant learning rate are written down here."
            )
        self.config = config
        source = datasets.find(config.data)
        size = config.data.image_size or source.native_size or 0
        stores = federation.build(config, image_size=size, channels=source.channels)
        self.spec = models.specify(
            config.model,
            stores.classes,
            image_size=size,
            native_size=source.native_size,
            channels=source.channels,
        )
        self.model = models.build(self.spec, seed=config.run.seed)
        self.stores = {name: data.train for name, data in stores.stores.items()}
        self.test = stores.test
        self.control = self.zeros()
        self.controls = {name: self.zeros() for name in self.stores}

    def zeros(self) -> Tensors:
        """Return zeros in the shapes of the parameters."""
        return [torch.zeros_like(parameter) for parameter in self.model.parameters()]

    def parameters(self) -> Tensors:
        """Return a copy of the model's parameters."""
        return [parameter.detach().clone() for parameter in self.model.parameters()]

    def load(self, tensors: Tensors) -> None:
        """Put these tensors into the model."""
        with torch.no_grad():
            for parameter, tensor in zip(self.model.parameters(), tensors, strict=True):
                parameter.copy_(tensor)

    def play_round(self, number: int) -> None:
        """Train every store from the global model, and combine."""
        start = self.parameters()
        mean = self.zeros()
        change = self.zeros()
        total = sum(len(images) for images in self.stores.values())
        for name, images in self.stores.items():
            self.load(start)
            shift = [c - own for c, own in zip(self.control, self.controls[name], strict=True)]
            step_sum = self.train(batches(images, name, self.spec, self.config, number), shift)
            for index, (x, y) in enumerate(zip(start, self.parameters(), strict=True)):
                mean[index] += len(images) / total * y
                if self.config.strategy.name == "scaffold":
                    before = self.controls[name][index]
                    after = (
                        before - self.control[index] + (x - y) / (step_sum * self.config.train.lr)
                    )
                    change[index] += len(images) / total * (after - before)
                    self.controls[name][index] = after
        self.load(mean)
        self.control = [c + delta for c, delta in zip(self.control, change, strict=True)]

    def train(self, batches: Iterator[Batch], shift: Tensors) -> float:
        """Train by SGD on the gradients plus a shift.

        Args:
            batches: pixels and labels of each step
            shift: a tensor for each parameter

        Returns:
            The K of the equations.
        """
        train = self.config.train
        steps = 0
        optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=train.lr,
            momentum=train.momentum,
            weight_decay=train.weight_decay,
        )
        for pixels, targets in batches:
            optimizer.zero_grad()
            functional.cross_entropy(self.model(pixels), targets).backward()
            for parameter, delta in zip(self.model.parameters(), shift, strict=True):
                assert parameter.grad is not None
                parameter.grad += delta
            optimizer.step()
            steps += 1
        return sum((1 - train.momentum**k) / (1 - train.momentum) for k in range(1, steps + 1))

    def accuracy(self) -> float:
        """Return the share of the test images that the global model classifies correctly."""
        assert self.test is not None, "a cell's data set has test images"
        right = 0
        with torch.no_grad():
            for positions in torch.arange(len(self.test)).split(1000):
                pixels, targets = self.test.batch(positions)
                scores = self.model(normalise(pixels, self.spec.mean, self.spec.std))
                right += int((scores.argmax(dim=1) == targets).sum())
        return right / len(self.test)


def batches(
    images: Images, name: str, spec: ModelSpec, config: RunConfig, number: int
) -> Iterator[Batch]:
    """Yield a store's batches of one round, as in our run with this seed.

    Args:
        images: the store's training images
        name: the store
        spec: the network, with the mean and deviation of pixels
        config: the settings of the cell
        number: the round

    Yields:
        Pixels, float32 [B, C, S, S], and labels, int64 [B].
    """
    order = rng(config.run.seed, "order", number, name)
    draws = DrawStream(config.data, config.run.seed, number, name)
    for _ in range(config.train.epochs):
        for positions in torch.from_numpy(order.permutation(len(images))).split(config.train.batch):
            pixels, targets = images.batch(positions)
            numbers = torch.from_numpy(draws.take(len(positions)))
            if numbers.shape[1]:  # else no option is on
                pixels = transform(pixels, config.data, numbers)
            yield normalise(pixels, spec.mean, spec.std), targets


def main() -> None:
    """Run a cell in both ways and print the two curves side by side."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cell", help="a cell of FedAvg or SCAFFOLD")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, help="fewer rounds than published")
    parser.add_argument("--epochs", type=int, help="fewer local epochs than published")
    parser.add_argument(
        "--workers", type=int, default=0, help="processes of ours on a CPU; default: one per core"
    )
    options = parser.parse_args()
    cell = cells.read(options.cell).reduced(options.rounds, options.epochs).seeded(options.seed)
    plain = Plain(cell.config)
    ours = play.play(cell, options.workers)
    print(
        f"{cell.name}, {cell.budget}, seed {options.seed}: accuracy on the test images\n round  "
        " ours  plain"
    )
    for number, accuracy in enumerate(ours.curve, start=1):
        plain.play_round(number)
        print(f"{number:6} {accuracy:6.4f} {plain.accuracy():6.4f}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except FedshelfError as error:
        raise SystemExit(str(error)) from None
