"""The app for Flower's own tools: `flwr run .`, in Flower's simulation (Ray) or against a
SuperLink.

In a simulation the nodes hold partitions of `data.dataset`, dealt as `flower-simulation` deals
them, so that the same seed gives the same model. Nodes whose configuration names a folder are real
stores.
"""

import time
from contextlib import closing
from functools import cache
from pathlib import Path

import torch
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from rich.console import Console

from fedshelf.client.process.factory import store_worker
from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.protocol import Worker
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.config import STORES_OWN, RunConfig, flatten, resolve
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.models.spec import STORE_CHANNELS
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies.shared.class_skew import logit_adjustment
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.common.system.device import pick_device
from fedshelf.common.system.files import cache_directory
from fedshelf.server.app import GridTraining
from fedshelf.server.report import console as screen
from fedshelf.server.results.run_directory import RunDirectory, free_name
from fedshelf.server.settings.precision import settle_precision
from fedshelf.server.training.robustness_guarantee import check_cohort
from fedshelf.server.training.run import StopRequest
from fedshelf.server.training.setup import settle
from fedshelf.simulations import datasets
from fedshelf.simulations.federation import federation

server_app = ServerApp()


@server_app.main()
def serve(grid: Grid, context: Context) -> None:
    """Train over the nodes of Flower's federation, into `run.out` (else a new directory below
    runs/).
    """
    began = time.time()
    config = resolve(context.run_config)
    config = resolve(flatten(config), {"run.device": str(pick_device(config.run.device))})
    channels = STORE_CHANNELS
    expected = config.cohort.min_stores
    if config.data.dataset != STORES_OWN:
        expected = len(list(grid.get_node_ids()))
        check_cohort(config, expected)
        config, channels = _resolve_for_dataset(resolve(flatten(config), {"data.stores": expected}))
    path = Path(config.run.out) if config.run.out else free_name(Path("runs") / "flower").resolve()
    RunDirectory.check_new(path)
    rounds = screen.RoundTable(config.run.rounds, console=Console())
    with closing(RunDirectory.open(path, config, context.run_config)) as directory, rounds:
        training = GridTraining(config, directory, rounds, _test_images, began, expected, channels)
        summary = training.run(grid, StopRequest(rounds))
    screen.print_outcome(summary, path)


def _resolve_for_dataset(config: RunConfig) -> tuple[RunConfig, int]:
    """Return the configuration with image size and classes of the simulated data set, and the data
    set's channels.
    """
    source = datasets.find(config.data)
    config = settle(config, source.native_size, source.channels)
    config, _ = settle_precision(config, source.channels)
    classes = _open_federation(config.model_dump_json()).classes
    return resolve(flatten(config), {"data.classes": list(classes)}), source.channels


def _test_images(plan: Plan) -> Images | None:
    """Return the data set's test images, if the data set is simulated and has any."""
    return (
        None
        if plan.config.data.dataset == STORES_OWN
        else _open_federation(plan.config.model_dump_json()).test
    )


@cache
def _open_federation(config: str) -> federation.Federation:
    """Return the simulated stores of a settled configuration, given as JSON; opened once a
    process.
    """
    settled = RunConfig.model_validate_json(config)
    channels = datasets.find(settled.data).channels
    return federation.build(settled, image_size=settled.data.image_size, channels=channels)


class PartitionWorker:
    """One store of a simulated federation, by its number; all stores of a process share one
    resident network.
    """

    def __init__(self, partition_id: int) -> None:
        self._partition_id = partition_id
        self.name = (
            f"partition-{partition_id}"  # until an order names the federation, and so the store
        )

    def info(self, config: RunConfig) -> StoreInfo:
        """Count the images of the partition by class. Raises DataError."""
        data = self._data(config)
        classes = _open_federation(config.model_dump_json()).classes
        row = _open_federation(config.model_dump_json()).table[self.name]
        return StoreInfo(
            self.name, dict(zip(classes, row, strict=True)), len(data.validation), len(data.test)
        )

    def train(self, order: TrainOrder) -> Update:
        """Train on the partition's training images. Raises FedshelfError."""
        images = self._data(order.plan.config).train
        return _trainer().train(order, self.name, images)

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Evaluate on the images that the partition holds out. Raises FedshelfError."""
        data = self._data(order.plan.config)
        held_out = data.validation if order.split == "validation" else data.test
        adjustments = {self.name: logit_adjustment(data.train, order.plan)}
        (evaluation,) = _trainer().evaluate(order, {self.name: held_out}, adjustments)
        return evaluation

    def _data(self, config: RunConfig) -> StoreData:
        stores = _open_federation(config.model_dump_json()).stores
        self.name = list(stores)[self._partition_id]
        return stores[self.name]


@cache
def _trainer() -> Trainer:
    """Return a trainer; on a CPU with one thread, as in the sequential engine.

    Actors share the cores, and one thread keeps sums the same.
    """
    keep_freed_memory()
    device = pick_device("auto")
    if device.type == "cpu":
        torch.set_num_threads(1)
    return Trainer(device, StateStore(cache_directory() / "stores"))


def _worker(context: Context) -> Worker:
    """Return a real store's worker if the node's configuration names a store, else that of the
    partition's number.
    """
    if "data" in context.node_config:
        return store_worker(context.node_config)
    return PartitionWorker(int(context.node_config["partition-id"]))


client_app = make_app(_worker)
