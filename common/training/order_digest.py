"""Identity of a training: from it and the store's secret its randomness derives.

Training is the same to the bit when nothing that it depends on has changed. So a training that is
repeated with the same noise gives the same update, which tells nothing new. Were anything left out
of the key, two trainings that differ in it would have the same noise, and the difference of their
updates would show photos without any.
"""

import hashlib
from collections.abc import Mapping

from torch import Tensor

from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import EvaluateOrder, TrainOrder

_IMAGES_PER_PIECE = 1024  # images that are copied at once
# sections of the settings that the training does not read; of `run` it reads the number of rounds,
# as learning rates depend on it
_UNREAD = {"cohort", "messages", "screening", "evaluation", "run"}


def order_digest(order: TrainOrder) -> str:
    """Return the SHA-256, in hexadecimal, of the parts of an order on which training depends.

    `committed` and `best` are not among them: they say which states a store may forget. Neither are
    the run's identity and the settings that no training reads, such as the engine of a simulation.
    """
    plan = order.plan
    hasher = hashlib.sha256()
    for text in (
        str(order.round),
        str(plan.config.run.rounds),
        plan.config.model_dump_json(exclude=_UNREAD),
        plan.spec.to_json(),
    ):
        _add(hasher, text.encode())
    frozen = {} if plan.frozen is None else {"frozen": plan.frozen}
    _add_tensors(hasher, {"params": order.params} | frozen)
    _add_tensors(hasher, order.extras)
    return hasher.hexdigest()


def summand_digest(order: TrainOrder | EvaluateOrder) -> str:
    """Return the SHA-256, in hexadecimal, of all parts of an order on which a summand may depend.

    A store's own part in the secure sum is not among them: the stores compare their orders by it.
    """
    plan = order.plan
    hasher = hashlib.sha256()
    for text in (
        plan.run_id,
        "train" if isinstance(order, TrainOrder) else order.split,
        str(order.round),
        plan.config.model_dump_json(),
        plan.spec.to_json(),
        str(order.terms),
    ):
        _add(hasher, text.encode())
    frozen = {} if plan.frozen is None else {"frozen": plan.frozen}
    _add_tensors(hasher, {"params": order.params} | frozen)
    _add_tensors(hasher, order.extras if isinstance(order, TrainOrder) else {})
    return hasher.hexdigest()


def training_digest(order_sha256: str, state: Mapping[str, Tensor], images: Images) -> str:
    """Return the SHA-256, in hexadecimal, of all on which a training depends.

    Args:
        order_sha256: of the order, from `order_digest`
        state: tensors that the store keeps between rounds, as they are before this one
        images: the training images in their order
    """
    hasher = hashlib.sha256()
    _add(hasher, order_sha256.encode())
    _add_tensors(hasher, state)
    _add_tensors(hasher, {"rows": images.rows.new_tensor(len(images))})
    for rows in images.rows.split(_IMAGES_PER_PIECE):
        inputs = images.inputs.index_select(0, rows)
        known = {"inputs": inputs, "labels": images.labels.index_select(0, rows)}
        if images.annotations is not None:
            known["annotations"] = images.annotations.index_select(0, rows)
        _add_tensors(hasher, known)
    return hasher.hexdigest()


def _add_tensors(hasher: "hashlib._Hash", tensors: Mapping[str, Tensor]) -> None:
    """Add tensors in the order of their names, each with its name, type and shape."""
    _add(hasher, str(len(tensors)).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        _add(hasher, f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        _add(hasher, tensor.detach().cpu().contiguous().numpy().tobytes())


def _add(hasher: "hashlib._Hash", content: bytes) -> None:
    """Add bytes, preceded by their number, so that no two lists of contents look the same."""
    hasher.update(len(content).to_bytes(8, "big"))
    hasher.update(content)
