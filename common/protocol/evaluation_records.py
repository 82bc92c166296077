"""The counts of an evaluation as fields and tensors of a message, and back."""

import torch
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.metrics.counts import Counts, Sums
from fedshelf.common.metrics.formulas import MAX_ELEMENTS
from fedshelf.common.protocol import calibration_records
from fedshelf.common.protocol.messages import Evaluation
from fedshelf.common.protocol.records import RecordReader, Value

# prefixes of tensors' names: those of counts by the adjusted scores, and of further metrics
_ADJUSTED = "adjusted."
_METRIC = "metric."
_MAX_SUM = 2.0**48  # of a metric's one sum: those of all stores do not overflow
_MAX_IMAGES = 2**31  # in a cell of a confusion matrix: sums of such counts do not overflow


def encode_evaluation(evaluation: Evaluation) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Return the fields and the tensors of an evaluation: the confusions, int64 [C, C].

    Of each further metric that counts something there is one tensor, int64 or float64.
    """
    fields, tensors = _encode_counts(evaluation.counts, "")
    if evaluation.adjusted is not None:
        adjusted_fields, adjusted_tensors = _encode_counts(evaluation.adjusted, _ADJUSTED)
        fields = fields | adjusted_fields
        tensors = tensors | adjusted_tensors
    return {"store": evaluation.store, "round": evaluation.round, **fields}, tensors


def decode_evaluation(store: str, reader: RecordReader) -> Evaluation:
    """Read back an evaluation of `store` from `encode_evaluation`.

    The caller has taken the field "store" already.

    Raises:
        MessageError: values that are not such counts
    """
    has_adjusted = reader.has_tensor(f"{_ADJUSTED}confusion")
    adjusted = _decode_counts(reader, _ADJUSTED) if has_adjusted else None
    return Evaluation(store, reader.count("round"), _decode_counts(reader, ""), adjusted)


def _encode_counts(counts: Counts, prefix: str) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Return the fields and tensors of counts, their names with a prefix."""
    fields: dict[str, Value] = {
        "right": int(counts.undisclosed_correct),
        "wrong": int(counts.undisclosed_wrong),
    }
    if counts.loss_sum is not None:
        fields["loss_sum"] = float(counts.loss_sum)
    tensors = {
        "confusion": torch.from_numpy(counts.confusion)
    } | calibration_records.encode_reliability(counts.reliability)
    tensors |= {
        f"{_METRIC}{name}": torch.from_numpy(sums)
        for name, sums in counts.metrics.items()
        if sums.size
    }
    return (
        {f"{prefix}{name}": value for name, value in fields.items()},
        {f"{prefix}{name}": tensor for name, tensor in tensors.items()},
    )


def _decode_counts(reader: RecordReader, prefix: str) -> Counts:
    """Read back the counts of `_encode_counts`. Raises MessageError."""
    confusion = reader.tensor(f"{prefix}confusion", torch.int64, ndim=2).numpy()
    if (
        confusion.shape[0] != confusion.shape[1]
        or (confusion < 0).any()
        or (confusion > _MAX_IMAGES).any()
    ):
        raise MessageError(
            f"Tensor '{prefix}confusion' of shape {confusion.shape} is not a square of counts."
        )
    correct = reader.count(f"{prefix}right")
    wrong = reader.count(f"{prefix}wrong")
    return Counts(
        confusion,
        reader.number_or_none(f"{prefix}loss_sum"),
        correct,
        wrong,
        calibration_records.decode_reliability(reader, prefix),
        _decode_metrics(reader, f"{prefix}{_METRIC}"),
    )


def _decode_metrics(reader: RecordReader, prefix: str) -> dict[str, Sums]:
    """Read back the sums of further metrics; whether they fit the run is decided by screening.

    Raises:
        MessageError: tensors that are no sums of any metric
    """
    tensors = reader.tensors(prefix)
    for name, tensor in tensors.items():
        if (
            tensor.dtype not in (torch.int64, torch.float64)
            or tensor.numel() > MAX_ELEMENTS
            or not torch.isfinite(tensor).all()
            or (tensor.numel() and float(tensor.abs().max()) > _MAX_SUM)
        ):
            raise MessageError(
                f"Tensor '{prefix}{name[:40]}' of type {tensor.dtype} and shape"
                f" {tuple(tensor.shape)} has no sums of a metric: expected at most {MAX_ELEMENTS}"
                f" numbers, int64 or float64, of at most {_MAX_SUM:g}."
            )
    return {name: tensor.numpy() for name, tensor in tensors.items()}
