"""Half precision (IEEE 754 binary16): 2 bytes a value, exact to 1 in 2,000 from 6e-5 to 65,504."""

from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.compression.base import Codec, checked_vector
from fedshelf.common.parameters.layout import Tensors


class HalfPrecision(Codec):
    """A codec that rounds each value to the nearest half-precision number.

    A value that is too large becomes infinite.
    """

    tensor_names: ClassVar = frozenset({"values"})

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the packed `vector` (float32 [T]): values, float16 [T]."""
        return {"values": vector.half()}

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return the vector, float32 [size].

        Raises:
            MessageError: `packed` has another type or length.
        """
        return checked_vector(packed, "values", torch.float16, size=size).float()
