"""Counts of a model's confidence as tensors of a message, and back.

An order names temperatures; an answer has counts at each of them: see `common.metrics.calibration`.
"""

import torch
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.metrics import calibration
from fedshelf.common.metrics.calibration import BINS, Reliability
from fedshelf.common.metrics.energy import ENERGY_BINS
from fedshelf.common.protocol.records import RecordReader

_TEMPERATURES = "temperatures"
# in one bin of confidence: sums of such counts do not overflow
_MAX_IMAGES = 2**31


def encode_temperatures(temperatures: tuple[float, ...]) -> dict[str, Tensor]:
    """Return the tensors of an order that asks for these temperatures: float64 [T], or none."""
    if not temperatures:
        return {}
    return {_TEMPERATURES: torch.tensor(temperatures, dtype=torch.float64)}


def decode_temperatures(reader: RecordReader, prefix: str = "") -> tuple[float, ...]:
    """Read back the temperatures of `encode_temperatures`.

    Args:
        reader: the message
        prefix: put by the sender before the tensors' names

    Raises:
        MessageError: values that no honest server asks for
    """
    name = f"{prefix}{_TEMPERATURES}"
    if not reader.has_tensor(name):
        return ()
    temperatures = tuple(reader.tensor(name, torch.float64, ndim=1).tolist())
    if len(temperatures) > calibration.MAX_TEMPERATURES or not all(
        calibration.COOLEST <= temperature <= calibration.HOTTEST for temperature in temperatures
    ):
        raise MessageError(
            f"Tensor {name!r} got {len(temperatures)} values; expected at most"
            f" {calibration.MAX_TEMPERATURES}, each from {calibration.COOLEST:g} to"
            f" {calibration.HOTTEST:g}."
        )
    return temperatures


def encode_reliability(reliability: Reliability | None) -> dict[str, Tensor]:
    """Return the tensors of an answer; {} for None. The sender may prefix their names.

    They are, for T temperatures and K = `BINS` bins: `temperatures` and `nll`, float64 [T];
    `bin_images` and `bin_right`, int64 [T, K]; `bin_sure`, float64 [T, K]; and `bin_energy`, int64
    [`ENERGY_BINS`].
    """
    if reliability is None:
        return {}
    counts = {
        "bin_images": reliability.images,
        "bin_right": reliability.correct,
        "bin_sure": reliability.confidence_sum,
        "bin_energy": reliability.energies,
    }
    arrays = {"nll": reliability.nll} | counts
    return encode_temperatures(reliability.temperatures) | {
        name: torch.from_numpy(array) for name, array in arrays.items()
    }


def decode_reliability(reader: RecordReader, prefix: str) -> Reliability | None:
    """Read back the counts of `encode_reliability`; None if the message has none.

    Args:
        reader: the message
        prefix: put by the sender before the tensors' names

    Raises:
        MessageError: tensors that are not such counts
    """
    temperatures = decode_temperatures(reader, prefix)
    if not temperatures:
        return None
    nll = reader.tensor(f"{prefix}nll", torch.float64, ndim=1)
    images = reader.tensor(f"{prefix}bin_images", torch.int64, ndim=2)
    correct = reader.tensor(f"{prefix}bin_right", torch.int64, ndim=2)
    confidence = reader.tensor(f"{prefix}bin_sure", torch.float64, ndim=2)
    energies = reader.tensor(f"{prefix}bin_energy", torch.int64, ndim=1)
    shape = (len(temperatures), BINS)
    if (
        nll.shape != shape[:1]
        or any(tensor.shape != shape for tensor in (images, correct, confidence))
        or energies.shape != (ENERGY_BINS,)
    ):
        raise MessageError(
            f"Tensors '{prefix}nll' and '{prefix}bin_*' are not counts at {len(temperatures)}"
            " temperatures."
        )
    if (
        (correct < 0).any()
        or (correct > images).any()
        or (images > _MAX_IMAGES).any()
        or (energies < 0).any()
        or (energies > _MAX_IMAGES).any()
    ):
        raise MessageError(
            f"Tensors '{prefix}bin_images', '{prefix}bin_right' and '{prefix}bin_energy' are not"
            " counts of images."
        )
    return Reliability(
        temperatures,
        nll.numpy(),
        images.numpy(),
        correct.numpy(),
        confidence.numpy(),
        energies.numpy(),
    )
