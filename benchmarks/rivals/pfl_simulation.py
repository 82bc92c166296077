"""pfl-research's simulation on its PyTorch backend: resident model, data preloaded as tensors.

Importing pfl connects the processes of a distributed simulation: see `pfl_run`, which imports this.
"""

import functools
import time
from types import SimpleNamespace

import networks
import numpy as np
import protocol
import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel
from torch import nn
from torch.nn import functional


class Report(TrainingProcessCallback):
    """Callback that evaluates as often as asked, and prints the time of a round's training."""

    def __init__(self, task: SimpleNamespace, net: nn.Module, images: int, rank: int) -> None:
        self.task = task
        self.net = net
        self.images = images
        self.rank = rank
        self.test = [tensor.to(task.device) for tensor in protocol.load(task.data, "test")]

    def on_train_begin(self, *, model):
        self.began = time.perf_counter()
        return Metrics()

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        if self.task.device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds = time.perf_counter() - self.began
        number = central_iteration + 1
        if self.rank == 0:
            score = (
                protocol.accuracy(self.net, *self.test)
                if protocol.is_evaluated(number, self.task)
                else None
            )
            protocol.report(number, self.task.epochs * self.images, seconds, score)
        self.began = time.perf_counter()
        return False, Metrics()


def network(task: SimpleNamespace) -> nn.Module:
    """Return the network with the two methods that pfl needs."""
    net = networks.build(task.model).to(task.device)

    def loss(x, y):
        net.train()
        return functional.cross_entropy(net(x), y)

    net.loss = loss
    net.metrics = lambda x, y: {"loss": Weighted(loss(x, y).item(), 1)}
    return net


def simulate(task: SimpleNamespace, rank: int) -> None:
    """Do the whole work, as one of `task.processes`."""
    torch.manual_seed(task.seed)
    np.random.seed(task.seed)  # pfl's processes sample the same cohorts only if this is the same
    net = network(task)
    x, y = (tensor.to(task.device) for tensor in protocol.load(task.data, "train"))
    stores = [
        PyTorchTensorDataset((x[p], y[p]))
        for p in protocol.assign_images(len(y), task.stores, task.seed)
    ]
    images = len(y) // task.stores * task.cohort
    del x, y
    users = FederatedDataset(stores.__getitem__, functools.partial(np.random.randint, task.stores))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            evaluation_frequency=task.rounds + 1,  # of each store's own data: we do not ask for it
            train_cohort_size=task.cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(
            training_data=users, val_data=users, postprocessors=[WeightByDatapoints()]
        ),
        model=PyTorchModel(
            net,
            local_optimizer_create=functools.partial(torch.optim.SGD, momentum=task.momentum),
            central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_learning_rate=task.lr,
            local_num_epochs=task.epochs,
            local_batch_size=task.batch_size,
        ),
        callbacks=[Report(task, net, images, rank)],
        send_metrics_to_platform=False,
    )
