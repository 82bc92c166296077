"""Top-k sparsification: only the largest changes travel.

Stich, Cordonnier, Jaggi: Sparsified SGD with Memory. NeurIPS 2018, Definition 2.2 (top-k) and
Algorithm 1 (the memory, which is our error feedback).
"""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.compression.base import Codec, take
from fedshelf.common.errors import MessageError
from fedshelf.common.parameters.layout import Tensors


class TopK(Codec):
    """The share `messages.keep` of the values, at least one: those of the largest magnitude.

    Places travel as gaps, in uint8 or uint16, whichever needs fewer bytes: the largest number of
    the type means "so many more are left out, and no value follows".
    """

    uses: ClassVar = frozenset({"keep"})
    parts: ClassVar = frozenset({"values", "gaps"})
    sparse: ClassVar = True

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return the packed `vector` (float32 [T]).

        values: float16 [K], in vector order; gaps: uint8 or uint16 [K and more], values left out
            before each
        """
        count = min(len(vector), max(1, round(self.config.keep * len(vector))))
        # NaN counts as largest
        places = vector.abs().topk(count, sorted=False).indices.sort().values
        skipped = places.diff(prepend=places.new_full((1,), -1)).cpu().numpy() - 1
        gaps = min(
            (_escaped(skipped, kind) for kind in (np.uint8, np.uint16)),
            key=lambda array: array.nbytes,
        )
        return {"values": vector[places].half(), "gaps": torch.from_numpy(gaps)}

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return the vector, float32 [size], with 0 for the values left out. Raises
        MessageError.
        """
        gaps = take(packed, "gaps", torch.uint8, torch.uint16).cpu().numpy()
        is_value = gaps != np.iinfo(gaps.dtype).max
        values = take(packed, "values", torch.float16, size=int(is_value.sum()))
        places = np.cumsum(gaps, dtype=np.int64)[is_value] + np.arange(len(values))
        if len(places) and places[-1] >= size:
            raise MessageError(
                f"The update changes value {places[-1]} of a model of {size} values."
            )
        vector = torch.zeros(size, device=values.device)
        vector[torch.from_numpy(places).to(values.device)] = values.float()
        return vector


def _escaped(
    gaps: NDArray[np.int64], kind: type[np.uint8] | type[np.uint16]
) -> NDArray[np.integer]:
    """Return gaps (int64 [K]) in a small type; a gap that is too large follows copies of the type's
    largest number.
    """
    largest = int(np.iinfo(kind).max)
    before = gaps // largest
    found = np.full(len(gaps) + int(before.sum()), largest, kind)
    found[np.cumsum(before + 1) - 1] = gaps % largest
    return found
