"""pfl-research's simulation on its PyTorch backend: resident model, data preloaded as tensors.

More than one process is pfl's own distributed simulation over gloo. Its processes meet in a file here: pfl's way, a
TCP store, would listen on every interface of the machine.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import networks
import numpy as np
import protocol
import torch
from torch.nn import functional

RANK, MEETING = "BENCHMARK_PFL_RANK", "BENCHMARK_PFL_MEETING"


def join(processes: int) -> None:
    """Make pfl's distributed context, which is made when it is imported, meet in a file."""
    torch.set_num_threads(1)
    begin = torch.distributed.init_process_group
    meeting, rank = f"file://{os.environ[MEETING]}", int(os.environ[RANK])
    torch.distributed.init_process_group = lambda backend, **_: begin(
        backend, init_method=meeting, rank=rank, world_size=processes
    )
    os.environ |= {"PFL_WORKER_RANK": str(rank), "PFL_WORKER_ADDRESSES": ",".join(["localhost:1"] * processes)}


def simulate(task: SimpleNamespace) -> None:
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

    torch.manual_seed(task.seed)
    np.random.seed(task.seed)  # pfl's processes sample the same cohorts only if this is the same
    net = networks.build(task.model).to(task.device)
    test = [tensor.to(task.device) for tensor in protocol.load(task.data, "test")]

    class Report(TrainingProcessCallback):
        """Evaluates as often as asked, and tells how long the round's training took."""

        def on_train_begin(self, *, model):
            self.began = time.perf_counter()
            return Metrics()

        def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
            if task.device.startswith("cuda"):
                torch.cuda.synchronize()
            seconds, number = time.perf_counter() - self.began, central_iteration + 1
            if os.environ.get(RANK, "0") == "0":
                score = protocol.accuracy(net, *test) if protocol.is_evaluated(number, task) else None
                protocol.report(number, task.epochs * per_store * task.cohort, seconds, score)
            self.began = time.perf_counter()
            return False, Metrics()

    def loss(x, y):
        net.train()
        return functional.cross_entropy(net(x), y)

    net.loss, net.metrics = loss, lambda x, y: {"loss": Weighted(loss(x, y).item(), 1)}
    x, y = (tensor.to(task.device) for tensor in protocol.load(task.data, "train"))
    stores = [PyTorchTensorDataset((x[p], y[p])) for p in protocol.deal(len(y), task.stores, task.seed)]
    per_store = len(y) // task.stores
    del x, y
    users = FederatedDataset(stores.__getitem__, functools.partial(np.random.randint, task.stores))
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(
            central_num_iterations=task.rounds,
            evaluation_frequency=task.rounds + 1,  # of each store's own data: we do not ask for it
            train_cohort_size=task.cohort,
            val_cohort_size=0,
        ),
        backend=SimulatedBackend(training_data=users, val_data=users, postprocessors=[WeightByDatapoints()]),
        model=PyTorchModel(
            net,
            local_optimizer_create=functools.partial(torch.optim.SGD, momentum=task.momentum),
            central_optimizer=torch.optim.SGD(net.parameters(), lr=1.0),
        ),
        model_train_params=NNTrainHyperParams(
            local_learning_rate=task.lr, local_num_epochs=task.epochs, local_batch_size=task.batch_size
        ),
        callbacks=[Report()],
        send_metrics_to_platform=False,
    )


def main() -> None:
    task = protocol.work()
    os.environ["PFL_PYTORCH_DEVICE"] = task.device
    if task.processes == 1:
        simulate(task)
    elif RANK in os.environ:
        join(task.processes)
        simulate(task)
    else:
        with tempfile.TemporaryDirectory() as folder:
            meeting = {MEETING: str(Path(folder) / "meeting"), "GLOO_SOCKET_IFNAME": "lo"}
            command = [sys.executable, __file__, json.dumps(vars(task))]
            ranks = [
                subprocess.Popen(
                    command, env=os.environ | meeting | {RANK: str(rank)}, stdout=subprocess.DEVNULL if rank else None
                )
                for rank in range(task.processes)
            ]
            sys.exit(max(rank.wait() for rank in ranks))


if __name__ == "__main__":
    main()
