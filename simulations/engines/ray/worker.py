"""The workers of the engine `ray` on a cluster's nodes: a resident network that does one job at a
time.

All large data are numpy arrays, which Ray passes through shared memory: the workers of one node
read the same copy.
"""

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf import client, common
from fedshelf.client.worker.worker import Trainer
from fedshelf.common.images.types import Images
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import (
    DetachedOrder,
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    TrainOrder,
    Update,
)
from fedshelf.simulations.federation import answers

Arrays = Mapping[str, NDArray[np.float32]]

# Arrays in Ray's shared memory are read-only, and torch has no such tensors: no code here writes to
# them.
warnings.filterwarnings("ignore", "The given NumPy array is not writable")


@dataclass(frozen=True)
class Setup:
    """The setup that a worker gets once.

    plan:   without its frozen parameters
    frozen: those, float32 [F], or None
    device: the device that computes
    """

    plan: Plan
    frozen: NDArray[np.float32] | None
    device: str


@dataclass(frozen=True)
class Model:
    """The part of an order that is sent apart: the global model, float32 [P], and the strategy's
    tensors.
    """

    params: NDArray[np.float32]
    extras: Arrays


@dataclass(frozen=True)
class Selection:
    """Images as rows (int64 [N]) of arrays in the cluster's object store.

    array: references to pixels (uint8 [M, H, W, C]) and labels (int64 [M])
    """

    array: tuple[Any, Any]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class RayTrainJob:
    """A job: train `store`, which has `state`, or fails because that cannot be read."""

    store: str
    order: DetachedOrder[TrainOrder]
    images: Selection
    state: Arrays | Failure


@dataclass(frozen=True)
class RayEvaluateJob:
    """A job: evaluate the model on the images of each of `stores`, or on a part of the server's
    ("").

    states: the stores' states, or the failure to read them, if parts of the model are personal
    adjustments: float32 [C] of each store that has one, see `common.strategies.shared.class_skew`
    """

    stores: tuple[str, ...]
    order: DetachedOrder[EvaluateOrder]
    images: tuple[Selection, ...]
    states: Mapping[str, Arrays | Failure]
    adjustments: Arrays


@dataclass(frozen=True)
class RayTrained:
    """An update; its parameters (float32 [P]), its extras and the store's state are separate
    fields.
    """

    update: Update
    params: NDArray[np.float32]
    extras: Arrays
    state: Arrays


Job = RayTrainJob | RayEvaluateJob
Judged = list[Evaluation | Failure]
Answer = RayTrained | Failure | Judged


class Carried:
    """The states of a job's stores, which come with it and go back with the answer (see
    `client.worker.state_store`). `client.worker.state_store`).
    """

    def __init__(self) -> None:
        self.of: dict[str, Tensors] = {}

    def load(self, run_id: str, store: str, round: int) -> Tensors:
        """Return the state that came with the job."""
        return self.of.get(store, {})

    def save(self, order: TrainOrder, store: str, state: Tensors) -> None:
        """Keep the state for the answer."""
        self.of[store] = state


class RayWorker:
    """A process on some node, with one thread and one network."""

    def __init__(self, setup: Setup) -> None:
        torch.set_num_threads(1)  # the same sums on any number of cores
        frozen = None if setup.frozen is None else torch.from_numpy(setup.frozen)
        self._plan = replace(setup.plan, frozen=frozen)
        self._states = Carried()
        self._trainer = Trainer(torch.device(setup.device), self._states)
        self._arrays: dict[Any, tuple[Tensor, Tensor]] = {}

    def work(self, job: Job, model: Model) -> Answer:
        """Do one job, starting from a round's model."""
        return (
            self._train(job, model) if isinstance(job, RayTrainJob) else self._evaluate(job, model)
        )

    def _train(self, job: RayTrainJob, model: Model) -> RayTrained | Failure:
        if isinstance(job.state, Failure):
            return job.state
        self._states.of = {job.store: tensors(job.state)}
        params = torch.from_numpy(model.params)
        extras = tensors(model.extras)
        order = job.order.attach(plan=self._plan, params=params, extras=extras)
        answer = answers.train(self._trainer, order, job.store, self._images(job.images))
        if isinstance(answer, Failure):
            return answer
        bare = replace(answer, params=torch.empty(0), extras={}, packed=None)
        return RayTrained(
            bare,
            answer.params.cpu().numpy(),
            arrays(answer.extras),
            arrays(self._states.of[job.store]),
        )

    def _evaluate(self, job: RayEvaluateJob, model: Model) -> Judged:
        order = job.order.attach(plan=self._plan, params=torch.from_numpy(model.params))
        failed = {store: state for store, state in job.states.items() if isinstance(state, Failure)}
        self._states.of = {
            store: tensors(state)
            for store, state in job.states.items()
            if not isinstance(state, Failure)
        }
        images = dict(zip(job.stores, job.images, strict=True))
        sets = {
            store: self._images(selection)
            for store, selection in images.items()
            if store not in failed
        }
        return [
            *failed.values(),
            *answers.evaluate(self._trainer, order, sets, tensors(job.adjustments)),
        ]

    def _images(self, selection: Selection) -> Images:
        """Return images whose array is kept from the first use on, so that a device copy of it
        stays valid.
        """
        if selection.array not in self._arrays:
            pixels, labels = ray.get(list(selection.array))
            self._arrays[selection.array] = (torch.from_numpy(pixels), torch.from_numpy(labels))
        return Images(*self._arrays[selection.array], torch.from_numpy(selection.rows))


def arrays(tensors: Tensors) -> Arrays:
    """Return tensors as arrays, which Ray passes on without a copy."""
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def tensors(arrays: Arrays) -> Tensors:
    """Return arrays as tensors; inverse of `arrays`."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def installed() -> str:
    """Return the versions that determine a worker's results, in words: version and code of
    Fedshelf, and torch.
    """
    digest = hashlib.sha256()
    for package in (common, client):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    for module in (__file__, answers.__file__):
        digest.update(Path(module).read_bytes())
    return (
        f"Fedshelf {version('fedshelf')} (code {digest.hexdigest()[:8]}) with torch"
        f" {torch.__version__}"
    )
