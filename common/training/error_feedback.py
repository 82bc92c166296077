"""Compression of a store's update with error feedback: the change of its weights travels, not the
weights.

    sent_t  = C(change_t + error_t),    error_{t+1} = change_t + error_t - sent_t

(Karimireddy et al. 2019, Algorithm 2.) Floating-point buffers, such as batch norm's, travel
uncompressed in float32. They are no sums of changes, an error in a variance would do much harm, and
they are few.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fedshelf.common.compression.base import Codec
from fedshelf.common.compression.packed import BUFFERS, rebuild
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Update

# key of the part not sent yet, in the state that a store keeps between rounds
_ERROR = "compression.error"


def split(kept: Tensors) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the strategy's state at a store, and the error of earlier messages (float32 [T]), or
    None.
    """
    return {name: tensor for name, tensor in kept.items() if name != _ERROR}, kept.get(_ERROR)


def compress(
    update: Update, start: Tensor, trainable: int, error: Tensor | None, codec: Codec | None
) -> tuple[Update, dict[str, Tensor]]:
    """Return the update as the server will have it, with its packed tensors, and the state to keep
    for the next one.

    start: float32 [P], the vector that the store trained from
    trainable: T, how many of the P parameters train
    error: float32 [T], the part that earlier messages left out, or None
    codec: None: nothing is changed, and nothing kept

    A change that is not finite is sent as such, and leaves the error as it was: a store can recover
    from it.
    """
    if codec is None:
        return update, {}
    start = start.to(update.params.device)
    end = update.params
    wanted = end[:trainable] - start[:trainable]
    if error is None:
        error = torch.zeros_like(wanted)
    error = error.to(wanted.device)
    wanted += error
    packed = {**codec.pack(wanted), BUFFERS: end[trainable:].clone()}
    left = wanted - codec.unpack(packed, trainable)
    kept = left if torch.isfinite(left).all() else error
    size = sum(tensor.nbytes for tensor in packed.values())
    params = rebuild(start, packed, codec)
    return replace(update, params=params, packed=packed, packed_bytes=size), {_ERROR: kept}
