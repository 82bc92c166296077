"""An update as fields and tensors of a message, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedshelf.common import compression
from fedshelf.common.compression.base import rebuild
from fedshelf.common.protocol.messages import EvaluateOrder, TrainOrder, Update
from fedshelf.common.protocol.records import RecordReader, Value

# prefixes of tensors' names: those of a strategy's extras, and of a compressed update
EXTRA = "extra."
_PACKED = "packed."


def encode_update(update: Update) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Return the fields and the tensors of an update, which may be on any device."""
    fields: dict[str, Value] = {
        "store": update.store,
        "round": update.round,
        "seconds": float(update.seconds),
        "num_examples": update.num_examples,
        "steps": update.steps,
    }
    if update.loss is not None:
        fields["loss"] = float(update.loss)
    weights = (
        {"params": update.params} if update.packed is None else with_prefix(update.packed, _PACKED)
    )
    return fields, weights | with_prefix(update.extras, EXTRA)


def decode_update(
    store: str, reader: RecordReader, order: TrainOrder | EvaluateOrder | None
) -> Update:
    """Read back an update of `store`, with its parameters decompressed.

    The caller has taken the field "store" already.

    Args:
        order: the order that it answers; a compressed update is a change of its parameters

    Raises:
        MessageError: anything that is not such an update
    """
    round_number = reader.count("round")
    num_examples = reader.count("num_examples")
    loss = reader.number_or_none("loss")
    seconds = reader.number("seconds")
    steps = reader.count("steps")
    codec = compression.build(order.plan.config.messages) if order else None
    if order is None or codec is None:
        params = reader.tensor("params", torch.float32, ndim=1)
        packed_bytes = 0
    else:
        packed = reader.tensors(_PACKED)
        params = rebuild(order.params.cpu(), packed, codec)
        packed_bytes = sum(tensor.nbytes for tensor in packed.values())
    return Update(
        store,
        round_number,
        params,
        num_examples,
        loss,
        seconds,
        reader.tensors(EXTRA),
        packed=None,
        packed_bytes=packed_bytes,
        steps=steps,
    )


def with_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return tensors with a prefix before their names."""
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
