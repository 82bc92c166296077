"""FedAvg as a good engineer writes it by hand in PyTorch: no library, no cleverness.

With one process, the stores train one after another with all threads. With more, workers of one
thread each hold their own copy of the data and get state dicts through torch.multiprocessing's
queues; they are spawned, as PyTorch advises.
"""

import random
import time
from types import SimpleNamespace

import networks
import protocol
import torch
from torch import Tensor, multiprocessing, nn
from torch.nn import functional


def train(model: nn.Module, x: Tensor, y: Tensor, task: SimpleNamespace) -> None:
    """Train one store's model, in place.

    Args:
        model: the network
        x: images, float32 [N, 3, 32, 32]
        y: labels, int64 [N]
        task: the work
    """
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=task.lr, momentum=task.momentum)
    for _ in range(task.epochs):
        for batch in torch.randperm(len(x), device=x.device).split(task.batch_size):
            optimizer.zero_grad()
            functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()


class Stores:
    """All stores' images on one device, and one model that stores use in turn."""

    def __init__(self, task: SimpleNamespace) -> None:
        self.task = task
        self.model = networks.build(task.model).to(task.device)
        self.x, self.y = (tensor.to(task.device) for tensor in protocol.load(task.data, "train"))
        self.parts = [
            part.to(task.device)
            for part in protocol.assign_images(len(self.y), task.stores, task.seed)
        ]

    def fit(self, store: int, start: dict[str, Tensor]) -> tuple[int, dict[str, Tensor]]:
        """Return the number of a store's images, and the weights after training on them."""
        self.model.load_state_dict(start)
        part = self.parts[store]
        train(self.model, self.x[part], self.y[part], self.task)
        return len(part), {name: value.clone() for name, value in self.model.state_dict().items()}


def serve(task: SimpleNamespace, orders, answers) -> None:
    """Train a store for each order, in a worker process, until the order is None."""
    torch.set_num_threads(1)
    stores = Stores(task)
    while (order := orders.get()) is not None:
        answers.put(stores.fit(*order))


class Pool:
    """Worker processes with the same `fit_all` as a single process."""

    def __init__(self, task: SimpleNamespace) -> None:
        context = multiprocessing.get_context("spawn")
        self.orders = context.Queue()
        self.answers = context.Queue()
        arguments = (task, self.orders, self.answers)
        self.workers = [
            context.Process(target=serve, args=arguments) for _ in range(task.processes)
        ]
        for worker in self.workers:
            worker.start()

    def fit_all(
        self, cohort: list[int], start: dict[str, Tensor]
    ) -> list[tuple[int, dict[str, Tensor]]]:
        """Train a cohort; return the number of images and the weights of each store."""
        for store in cohort:
            self.orders.put((store, start))
        return [self.answers.get() for _ in cohort]

    def close(self) -> None:
        """End the worker processes."""
        for _ in self.workers:
            self.orders.put(None)
        for worker in self.workers:
            worker.join()


class Alone:
    """The stores one after another in this process."""

    def __init__(self, task: SimpleNamespace) -> None:
        self.stores = Stores(task)

    def fit_all(
        self, cohort: list[int], start: dict[str, Tensor]
    ) -> list[tuple[int, dict[str, Tensor]]]:
        """Train a cohort; return the number of images and the weights of each store."""
        return [self.stores.fit(store, start) for store in cohort]

    def close(self) -> None:
        """Do nothing."""
        pass


def average(answers: list[tuple[int, dict[str, Tensor]]]) -> dict[str, Tensor]:
    """Return the mean of the weights, weighted by images."""
    total = sum(images for images, _ in answers)
    return {
        name: sum(state[name] * (images / total) for images, state in answers)
        for name in answers[0][1]
    }


def main() -> None:
    """Train, and print a line for each round."""
    task = protocol.work()
    torch.manual_seed(task.seed)
    sampler = random.Random(task.seed)
    pool = Pool(task) if task.processes > 1 else Alone(task)
    model = networks.build(task.model).to(task.device)
    test = [tensor.to(task.device) for tensor in protocol.load(task.data, "test")]
    for number in range(1, task.rounds + 1):
        began = time.perf_counter()
        answers = pool.fit_all(sampler.sample(range(task.stores), task.cohort), model.state_dict())
        model.load_state_dict(average(answers))
        if task.device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        score = protocol.accuracy(model, *test) if protocol.is_evaluated(number, task) else None
        protocol.report(number, task.epochs * sum(images for images, _ in answers), seconds, score)
    pool.close()


if __name__ == "__main__":
    main()
