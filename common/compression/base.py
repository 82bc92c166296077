"""The base class of codecs: a codec makes a vector of changes small, and may lose something."""

from typing import ClassVar

import torch
from torch import Tensor

from fedshelf.common.config import MessagesConfig
from fedshelf.common.errors import MessageError
from fedshelf.common.parameters.layout import Tensors


class Codec:
    """One way to send a vector in fewer bytes. It keeps no state, so a vector has one packed form.

    Values that are not finite must come out not finite: the screening of updates has to see them.
    """

    uses: ClassVar[frozenset[str]] = frozenset()  # fields of MessagesConfig that change the outcome
    parts: ClassVar[frozenset[str]]  # names of the tensors that `pack` makes
    sparse: ClassVar[bool] = False  # most values of one vector are left out and come out as 0

    def __init__(self, config: MessagesConfig) -> None:
        self.config = config

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return `vector` (float32 [T]) as the tensors that travel."""
        raise NotImplementedError

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return the vector of `size` values from its packed form: float32 [size], with the losses
        of `pack`.

        Raises MessageError unless `pack` could make `packed` from so many values: it comes from a
        network.
        """
        raise NotImplementedError


def take(packed: Tensors, name: str, *dtypes: torch.dtype, size: int | None = None) -> Tensor:
    """Return the vector `name`, checked to be of one of `dtypes` and of `size` elements.

    Raises MessageError.
    """
    tensor = packed[name]
    if tensor.dtype not in dtypes or tensor.ndim != 1 or (size is not None and len(tensor) != size):
        expected = f"{' or '.join(map(str, dtypes))} [{'any' if size is None else size}]"
        raise MessageError(
            f"Packed tensor {name!r} is {tensor.dtype} {list(tensor.shape)}; expected {expected}."
        )
    return tensor
