"""The base class of codecs: a codec makes a vector of changes small, and may lose something."""

from typing import ClassVar, get_type_hints

import torch
from torch import Tensor

from fedshelf.common.config import MessagesConfig
from fedshelf.common.config.field_types import CodecSettings
from fedshelf.common.errors import MessageError
from fedshelf.common.parameters.layout import Tensors

BUFFERS = "buffers"  # the part with floating-point buffers, which travel uncompressed


class Codec:
    """One way to send a vector in fewer bytes. It keeps no state, so a vector has one packed form.

    Values that are not finite must come out not finite: the screening of updates has to see them.
    """

    settings: CodecSettings  # of its own: a subclass names its class of settings here
    tensor_names: ClassVar[frozenset[str]]  # names of the tensors that `pack` makes
    sparse: ClassVar[bool] = False  # most values of one vector are left out and come out as 0

    def __init__(self, config: MessagesConfig) -> None:
        self.config = config
        own = self.settings_class()
        self.settings = own(**{key: getattr(config, key) for key in own.model_fields})

    @classmethod
    def settings_class(cls) -> type[CodecSettings]:
        """Return the class of the codec's own settings: the type of its `settings`."""
        settings_type: type[CodecSettings] = get_type_hints(cls)["settings"]
        return settings_type

    @classmethod
    def settings_used(cls) -> frozenset[str]:
        """Return the names of the settings that change the outcome."""
        return frozenset(cls.settings_class().model_fields)

    def pack(self, vector: Tensor) -> dict[str, Tensor]:
        """Return `vector` (float32 [T]) as the tensors that travel."""
        raise NotImplementedError

    def unpack(self, packed: Tensors, size: int) -> Tensor:
        """Return a vector from its packed form, with the losses of `pack`.

        Args:
            packed: tensors that came over a network
            size: number of values of the vector

        Returns:
            Float32 [size].

        Raises:
            MessageError: `pack` cannot have made the tensors from so many values.
        """
        raise NotImplementedError


def checked_vector(
    packed: Tensors, name: str, *dtypes: torch.dtype, size: int | None = None
) -> Tensor:
    """Return one packed vector, [N], after checks.

    Args:
        packed: tensors that came over a network
        name: name of the vector
        dtypes: the types that it may have
        size: number of its elements; None: any

    Raises:
        MessageError: it has another type or shape.
    """
    tensor = packed[name]
    if tensor.dtype not in dtypes or tensor.ndim != 1 or (size is not None and len(tensor) != size):
        expected = f"{' or '.join(map(str, dtypes))} [{'any' if size is None else size}]"
        raise MessageError(
            f"Packed tensor {name!r} is {tensor.dtype} {list(tensor.shape)}; expected {expected}."
        )
    return tensor


def rebuild(start: Tensor, packed: Tensors, codec: Codec) -> Tensor:
    """Return the parameters of a packed update.

    The length of a store's buffers tells where its weights end: with a wrong one it only harms its
    own update.

    Args:
        start: float32 [P], the parameters that the store trained from
        packed: the tensors that came over a network
        codec: the codec of the run

    Returns:
        Float32 [P].

    Raises:
        MessageError: `error_feedback.compress_update` never makes such tensors.
    """
    if set(packed) != codec.tensor_names | {BUFFERS}:
        expected = (
            f"{codec.config.compression} makes {', '.join(sorted(codec.tensor_names | {BUFFERS}))}"
        )
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
