"""Top-k sparsification: only the largest changes travel.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory. NeurIPS 2018, Definition 2.2 (top-k) and
Algorithm 1 (the memory, which is our error feedback).
"""

from typing import Annotated, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from fedshelf.common.compression.base import Codec, checked_vector
from fedshelf.common.config.field_types import CodecSettings
from fedshelf.common.errors import MessageError
from fedshelf.common.parameters.layout import Tensors


class TopKSettings(CodecSettings):
    """The setting of TopK."""

    keep: Annotated[float, Field(gt=0, le=0.5)] = Field(
        0.1,
        description=(
            "share of the changes that is sent; each costs 3 bytes, an uncompressed change 4"
        ),
    )


class TopK(Codec):
    """The share `messages.keep` of the values, at least one: those of the largest magnitude.

    Places travel as gaps, in uint8 or uint16, whichever needs fewer bytes: the largest number of
    the type means "so many more are left out, and no value follows".
    """

    settings: TopKSettings
    tensor_names: ClassVar = frozenset({"values", "gaps"})
    sparse: ClassVar = True

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the packed `vector` (float32 [T]).

        Returns:
            values: float16 [K], in vector order; gaps: uint8 or uint16 [K and more], number of
            values left out before each.
        """
        count = min(len(vector), max(1, round(self.settings.keep * len(vector))))
        # topk takes NaN for the largest, so the server sees it
        positions = vector.abs().topk(count, sorted=False).indices.sort().values
        skipped = positions.diff(prepend=positions.new_full((1,), -1)).cpu().numpy() - 1
        gaps = min(
            (_encode_gaps(skipped, dtype) for dtype in (np.uint8, np.uint16)),
            key=lambda array: array.nbytes,
        )
        return {"values": vector[positions].half(), "gaps": torch.from_numpy(gaps)}

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return the vector, float32 [size], with 0 for the values left out.

        Raises:
            MessageError: `packed` has other types, or names values beyond `size`.
        """
        gaps = checked_vector(packed, "gaps", torch.uint8, torch.uint16).cpu().numpy()
        is_value = gaps != np.iinfo(gaps.dtype).max
        values = checked_vector(packed, "values", torch.float16, size=int(is_value.sum()))
        positions = np.cumsum(gaps, dtype=np.int64)[is_value] + np.arange(len(values))
        if len(positions) and positions[-1] >= size:
            raise MessageError(
                f"The update changes value {positions[-1]} of a model of {size} values."
            )
        vector = torch.zeros(size, device=values.device)
        vector[torch.from_numpy(positions).to(values.device)] = values.float()
        return vector


def _encode_gaps(
    gaps: NDArray[np.int64], dtype: type[np.uint8] | type[np.uint16]
) -> NDArray[np.integer]:
    """Return gaps (int64 [K]) in a small type.

    A gap that is too large for it follows copies of the type's largest number.
    """
    largest = int(np.iinfo(dtype).max)
    fillers = gaps // largest
    encoded = np.full(len(gaps) + int(fillers.sum()), largest, dtype)
    encoded[np.cumsum(fillers + 1) - 1] = gaps % largest
    return encoded
