"""Half precision (IEEE 754 binary16): 2 bytes a value, exact to about 1 in 2,000 for 6e-5 to
65,504.
"""

from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.compression.base import Codec, take
from fedshelf.common.parameters.layout import Tensors


class HalfPrecision(Codec):
    """Each value rounded to the nearest half-precision number; a value that is too large becomes
    infinite.
    """

    parts: ClassVar = frozenset({"values"})

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the packed `vector` (float32 [T]): values, float16 [T]."""
        return {"values": vector.half()}

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return the vector, float32 [size]. Raises MessageError."""
        return take(packed, "values", torch.float16, size=size).float()
