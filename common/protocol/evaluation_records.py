"""The counts of an evaluation as fields and tensors of a message, and back."""

import torch
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol import calibration_records
from fedshelf.common.protocol.messages import Evaluation
from fedshelf.common.protocol.records import RecordReader, Value

_ADJUSTED = "adjusted."  # prefix of the names of counts by the adjusted scores
_MOST_IMAGES = 2**31  # limit of one cell of a confusion matrix: sums of such counts do not overflow


def encode_evaluation(evaluation: Evaluation) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Return the fields and the tensors of an evaluation."""
    fields, tensors = _told(evaluation.counts, "")
    if evaluation.adjusted is not None:
        further, matrices = _told(evaluation.adjusted, _ADJUSTED)
        fields = fields | further
        tensors = tensors | matrices
    return {"store": evaluation.store, "round": evaluation.round, **fields}, tensors


def decode_evaluation(store: str, reader: RecordReader) -> Evaluation:
    """Read back an evaluation of `store` from `encode_evaluation`.

    Raises MessageError for values that are not such counts.
    """
    adjusted = _read(reader, _ADJUSTED) if reader.has_tensor(f"{_ADJUSTED}confusion") else None
    return Evaluation(store, reader.count("round"), _read(reader, ""), adjusted)


def _told(counts: Counts, prefix: str) -> tuple[dict[str, Value], dict[str, Tensor]]:
    fields: dict[str, Value] = {
        "loss_sum": float(counts.loss_sum),
        "right": int(counts.undisclosed_correct),
        "wrong": int(counts.undisclosed_wrong),
    }
    tensors = {
        "confusion": torch.from_numpy(counts.confusion)
    } | calibration_records.encode_reliability(counts.reliability)
    named = {f"{prefix}{name}": tensor for name, tensor in tensors.items()}
    return {f"{prefix}{name}": value for name, value in fields.items()}, named


def _read(reader: RecordReader, prefix: str) -> Counts:
    confusion = reader.tensor(f"{prefix}confusion", torch.int64, ndim=2).numpy()
    if (
        confusion.shape[0] != confusion.shape[1]
        or (confusion < 0).any()
        or (confusion > _MOST_IMAGES).any()
    ):
        raise MessageError(
            f"Tensor '{prefix}confusion' of shape {confusion.shape} is not a square of counts."
        )
    untold = reader.count(f"{prefix}right"), reader.count(f"{prefix}wrong")
    return Counts(
        confusion,
        reader.number(f"{prefix}loss_sum"),
        *untold,
        calibration_records.decode_reliability(reader, prefix),
    )
