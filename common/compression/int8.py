"""8-bit integers with one scale per block.

Dettmers: 8-Bit Approximations for Parallelism in Deep Learning. ICLR 2016 (linear quantisation);
block-wise as in Dettmers et al.: 8-bit Optimizers via Block-wise Quantization. ICLR 2022, Section
2.1.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from fedshelf.common.compression.base import Codec, checked_vector
from fedshelf.common.parameters.layout import Tensors

# values that share a scale: 4 bytes for 256, and one large value spoils few others
VALUES_PER_SCALE = 256
MAX_INT8 = 127


class Int8(Codec):
    """A codec that maps v in each block to round(127 v / max |v|).

    It rounds to the nearest number: error feedback needs small errors, not unbiased ones.
    """

    tensor_names: ClassVar = frozenset({"codes", "scales"})

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the packed `vector` (float32 [T]).

        Returns:
            codes: int8 [T]; scales: float32 [ceil(T / VALUES_PER_SCALE)], not finite if a value of
            the block is not finite.
        """
        blocks = functional.pad(vector, (0, -len(vector) % VALUES_PER_SCALE)).view(
            -1, VALUES_PER_SCALE
        )
        scales = blocks.abs().amax(dim=1) / MAX_INT8
        steps = (blocks / scales[:, None]).round().nan_to_num(0).clamp(-MAX_INT8, MAX_INT8)
        return {"codes": steps.to(torch.int8).flatten()[: len(vector)], "scales": scales}

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return the vector, float32 [size]; no value of a block is finite if its scale is not.

        Raises:
            MessageError: `packed` has other types or lengths.
        """
        codes = checked_vector(packed, "codes", torch.int8, size=size)
        scales = checked_vector(packed, "scales", torch.float32, size=-(-size // VALUES_PER_SCALE))
        scales = torch.where(scales.isfinite(), scales, torch.nan)
        return codes * scales.repeat_interleave(VALUES_PER_SCALE)[:size]
