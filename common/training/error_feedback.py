"""Compression of a store's update with error feedback.

The change of its weights travels, not the weights:

    sent_t  = C(change_t + error_t),    error_{t+1} = change_t + error_t - sent_t

(Karimireddy et al. 2019, Algorithm 2.) Floating-point buffers, such as batch norm's, travel
uncompressed in float32. They are no sums of changes, an error in a variance would do much harm, and
they are few.
"""

from dataclasses import replace

import torch
from torch import Tensor

from fedshelf.common.compression.base import BUFFERS, Codec, rebuild
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Update

# key of the part not sent yet, in the state that a store keeps between rounds
_ERROR = "compression.error"


def split_state(state: Tensors) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return the two parts of a store's state: the strategy's, and the error of compression.

    Args:
        state: the tensors that the store kept between its rounds

    Returns:
        (the strategy's tensors, the part of earlier changes that was not sent: float32 [T], or
        None).
    """
    return {name: tensor for name, tensor in state.items() if name != _ERROR}, state.get(_ERROR)


def to_state(error: Tensor | None) -> dict[str, Tensor]:
    """Return the part of a store's state that keeps what was not sent: float32 [T], or nothing."""
    return {} if error is None else {_ERROR: error}


def compress_update(
    update: Update, start: Tensor, trainable: int, error: Tensor | None, codec: Codec | None
) -> tuple[Update, dict[str, Tensor]]:
    """Return the update as the server will have it, and the state to keep for the next one.

    A change that is not finite is sent as such, and leaves the error as it was: a store can recover
    from it.

    Args:
        update: the update as the store trained it
        start: float32 [P], the vector that the store trained from
        trainable: T, number of the P parameters that train
        error: float32 [T], the part that earlier messages left out, or None
        codec: None: nothing is changed, and nothing kept

    Returns:
        (the update with its packed tensors, the state with the new error).
    """
    if codec is None:
        return update, {}
    start = start.to(update.params.device)
    end = update.params
    change = end[:trainable] - start[:trainable]
    if error is None:
        error = torch.zeros_like(change)
    error = error.to(change.device)
    change += error
    packed = {**codec.pack(change), BUFFERS: end[trainable:].clone()}
    unsent = change - codec.unpack(packed, trainable)
    next_error = unsent if torch.isfinite(unsent).all() else error
    packed_bytes = sum(tensor.nbytes for tensor in packed.values())
    params = rebuild(start, packed, codec)
    return replace(update, params=params, packed=packed, packed_bytes=packed_bytes), {
        _ERROR: next_error
    }
