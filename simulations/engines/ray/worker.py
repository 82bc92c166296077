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

from fedshelf import client, common
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.config import flatten
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
from fedshelf.common.system.allocator import keep_freed_memory
from fedshelf.simulations.federation import answers
from fedshelf.simulations.run.own_code import allow_named

Arrays = Mapping[str, NDArray[np.float32]]

# Arrays in Ray's shared memory are read-only, and torch has no such tensors: no code here writes to
# them.
warnings.filterwarnings("ignore", "The given NumPy array is not writable")


@dataclass(frozen=True)
class WorkerSetup:
    """The setup that a worker gets once.

    plan:   without its frozen parameters
    frozen: those, float32 [F], or None
    device: the device that computes
    """

    plan: Plan
    frozen: NDArray[np.float32] | None
    device: str


@dataclass(frozen=True)
class RoundModel:
    """The part of an order that is sent apart: the global model, float32 [P], and the strategy's
    tensors.
    """

    params: NDArray[np.float32]
    extras: Arrays


@dataclass(frozen=True)
class ImageSelection:
    """Images as rows (int64 [N]) of arrays in the cluster's object store.

    array: references to pixels (uint8 [M, H, W, C]), labels (int64 [M]) and annotations, or None
    """

    array: tuple[Any, Any, Any]
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class RayTrainJob:
    """A job: train `store`, which has `state`, or fails because that cannot be read."""

    store: str
    order: DetachedOrder[TrainOrder]
    images: ImageSelection
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
    images: tuple[ImageSelection, ...]
    states: Mapping[str, Arrays | Failure]
    adjustments: Arrays


@dataclass(frozen=True)
class RayTrainResult:
    """An update; its parameters (float32 [P]), its extras and the store's state are separate
    fields.
    """

    update: Update
    params: NDArray[np.float32]
    extras: Arrays
    state: Arrays


RayJob = RayTrainJob | RayEvaluateJob
Evaluations = list[Evaluation | Failure]
RayAnswer = RayTrainResult | Failure | Evaluations


class JobStates:
    """The states of a job's stores, which come with the job and go back with the answer.

    It stands in for the files of `client.worker.state_store`.
    """

    def __init__(self) -> None:
        self.by_store: dict[str, Tensors] = {}

    def load(self, run_id: str, store: str, round_number: int) -> Tensors:
        """Return the state that came with the job."""
        return self.by_store.get(store, {})

    def save(self, order: TrainOrder, store: str, state: Tensors) -> None:
        """Keep the state for the answer."""
        self.by_store[store] = state


class RayWorker:
    """A process on some node, with one thread and one network."""

    def __init__(self, setup: WorkerSetup) -> None:
        keep_freed_memory()
        allow_named(flatten(setup.plan.config))
        torch.set_num_threads(1)  # the same sums on any number of cores
        frozen = None if setup.frozen is None else torch.from_numpy(setup.frozen)
        self._plan = replace(setup.plan, frozen=frozen)
        self._states = JobStates()
        self._trainer = Trainer(torch.device(setup.device), self._states)
        self._arrays: dict[Any, Images] = {}

    def work(self, job: RayJob, model: RoundModel) -> RayAnswer:
        """Do one job, starting from a round's model."""
        return (
            self._train(job, model) if isinstance(job, RayTrainJob) else self._evaluate(job, model)
        )

    def _train(self, job: RayTrainJob, model: RoundModel) -> RayTrainResult | Failure:
        if isinstance(job.state, Failure):
            return job.state
        self._states.by_store = {job.store: tensors(job.state)}
        params = torch.from_numpy(model.params)
        extras = tensors(model.extras)
        order = job.order.attach(plan=self._plan, params=params, extras=extras)
        answer = answers.train(self._trainer, order, job.store, self._images(job.images))
        if isinstance(answer, Failure):
            return answer
        update = replace(answer, params=torch.empty(0), extras={}, packed=None)
        return RayTrainResult(
            update,
            answer.params.cpu().numpy(),
            arrays(answer.extras),
            arrays(self._states.by_store[job.store]),
        )

    def _evaluate(self, job: RayEvaluateJob, model: RoundModel) -> Evaluations:
        order = job.order.attach(plan=self._plan, params=torch.from_numpy(model.params))
        failures = {
            store: state for store, state in job.states.items() if isinstance(state, Failure)
        }
        self._states.by_store = {
            store: tensors(state)
            for store, state in job.states.items()
            if not isinstance(state, Failure)
        }
        selections = dict(zip(job.stores, job.images, strict=True))
        sets = {
            store: self._images(selection)
            for store, selection in selections.items()
            if store not in failures
        }
        return [
            *failures.values(),
            *answers.evaluate(self._trainer, order, sets, tensors(job.adjustments)),
        ]

    def _images(self, selection: ImageSelection) -> Images:
        """Return images whose array is kept from the first use on, so that a device copy of it
        stays valid.
        """
        if selection.array not in self._arrays:
            pixels, labels, annotations = ray.get(list(selection.array))
            self._arrays[selection.array] = Images(
                torch.from_numpy(pixels),
                torch.from_numpy(labels),
                torch.zeros(0, dtype=torch.int64),
                None if annotations is None else torch.from_numpy(annotations),
            )
        return self._arrays[selection.array].at(torch.from_numpy(selection.rows))


def arrays(tensors: Tensors) -> Arrays:
    """Return tensors as arrays, which Ray passes on without a copy."""
    return {name: tensor.cpu().numpy() for name, tensor in tensors.items()}


def tensors(arrays: Arrays) -> Tensors:
    """Return arrays as tensors; inverse of `arrays`."""
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def installed_versions() -> str:
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
