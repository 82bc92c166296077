"""Reconstruction of the parameters from a packed update and the parameters that it started from."""

import torch
from torch import Tensor

from fedshelf.common.compression.base import Codec
from fedshelf.common.errors import MessageError
from fedshelf.common.parameters.layout import Tensors

BUFFERS = "buffers"  # the part with floating-point buffers, which travel uncompressed


def rebuild(start: Tensor, packed: Tensors, codec: Codec) -> Tensor:
    """Return the parameters (float32 [P]) of an update that started at `start` (float32 [P]).

    Raises MessageError for a `packed` that `compress` never makes.

    The length of a store's buffers tells where its weights end: with a wrong one it only harms its
    own update.
    """
    if set(packed) != codec.parts | {BUFFERS}:
        expected = f"{codec.config.compression} makes {', '.join(sorted(codec.parts | {BUFFERS}))}"
        raise MessageError(
            f"The update holds {', '.join(sorted(packed)) or 'nothing'} packed; {expected}."
        )
    buffers = packed[BUFFERS]
    if buffers.dtype != torch.float32 or buffers.ndim != 1 or len(buffers) > len(start):
        raise MessageError(
            f"The update's buffers are not a float32 vector of at most {len(start)} values."
        )
    trainable = len(start) - len(buffers)
    return torch.cat([start[:trainable] + codec.unpack(packed, trainable), buffers])
