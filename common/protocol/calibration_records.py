"""Counts of a model's confidence as tensors of a message, and back; see
`common.metrics.calibration`.
"""

import torch
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.metrics import calibration
from fedshelf.common.metrics.calibration import BINS, Reliability
from fedshelf.common.protocol.records import RecordReader

_TEMPERATURES = "temperatures"
# limit of the images in one bin of confidence: sums of such counts do not overflow
_MOST_IMAGES = 2**31


def encode_temperatures(at: tuple[float, ...]) -> dict[str, Tensor]:
    """Return the tensors of an order that asks for the temperatures `at`."""
    return {_TEMPERATURES: torch.tensor(at, dtype=torch.float64)} if at else {}


def decode_temperatures(reader: RecordReader, prefix: str = "") -> tuple[float, ...]:
    """Read back the temperatures of `encode_temperatures`.

    Raises MessageError for values that no honest server asks for.
    """
    if not reader.has_tensor(name := f"{prefix}{_TEMPERATURES}"):
        return ()
    at = tuple(reader.tensor(name, torch.float64, ndim=1).tolist())
    if len(at) > calibration.MAX_TEMPERATURES or not all(
        calibration.COOLEST <= each <= calibration.HOTTEST for each in at
    ):
        raise MessageError(
            f"Tensor {name!r} got {len(at)} values; expected at most"
            f" {calibration.MAX_TEMPERATURES}, each from {calibration.COOLEST:g} to"
            f" {calibration.HOTTEST:g}."
        )
    return at


def encode_reliability(reliability: Reliability | None) -> dict[str, Tensor]:
    """Return the tensors of an answer, or {} for None; the sender may give their names a prefix."""
    if reliability is None:
        return {}
    counts = {
        "bin_images": reliability.images,
        "bin_right": reliability.correct,
        "bin_sure": reliability.confidence_sum,
    }
    arrays = {"nll": reliability.nll} | counts
    return encode_temperatures(reliability.temperatures) | {
        name: torch.from_numpy(array) for name, array in arrays.items()
    }


def decode_reliability(reader: RecordReader, prefix: str) -> Reliability | None:
    """Read back the counts of `encode_reliability`.

    Raises MessageError for tensors that are not such counts.
    """
    if not (at := decode_temperatures(reader, prefix)):
        return None
    nll = reader.tensor(f"{prefix}nll", torch.float64, ndim=1)
    images, right = (
        reader.tensor(f"{prefix}{name}", torch.int64, ndim=2)
        for name in ("bin_images", "bin_right")
    )
    sure = reader.tensor(f"{prefix}bin_sure", torch.float64, ndim=2)
    shape = len(at), BINS
    if nll.shape != shape[:1] or any(tensor.shape != shape for tensor in (images, right, sure)):
        raise MessageError(
            f"Tensors '{prefix}nll' and '{prefix}bin_*' are not counts at {len(at)} temperatures."
        )
    if (right < 0).any() or (right > images).any() or (images > _MOST_IMAGES).any():
        raise MessageError(
            f"Tensors '{prefix}bin_images' and '{prefix}bin_right' are not counts of images."
        )
    return Reliability(at, nll.numpy(), images.numpy(), right.numpy(), sure.numpy())
