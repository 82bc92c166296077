"""Personal parts of the model: a store's own values replace those that the server sends.

The vectors that travel keep their length: in place of its personal values, a store sends back the
values it got. So the change of an update is zero there, however it is combined, screened or
compressed.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.parameters.layout import Layout, Tensors

# key of a store's own values in the state that it keeps between rounds
_OWN_LAYERS = "personal.own"


def personal_slices(layout: Layout, names: Iterable[str]) -> tuple[slice, ...]:
    """Return the places of the named tensors in the vector."""
    return tuple(layout.slice_of(name) for name in names)


def local_model(global_params: Tensor, state: Tensors, slices: tuple[slice, ...]) -> Tensor:
    """Return the model that a store works with: the global one, with its own values if any.

    Args:
        global_params: float32 [P], the vector that the server sent
        state: the tensors that the store kept between its rounds
        slices: places of the personal tensors in the vector

    Returns:
        Float32 [P].
    """
    if not slices or _OWN_LAYERS not in state:
        return global_params
    model = global_params.clone()
    values = state[_OWN_LAYERS].to(global_params.device)
    for personal_slice, part in zip(
        slices,
        values.split([personal_slice.stop - personal_slice.start for personal_slice in slices]),
        strict=True,
    ):
        model[personal_slice] = part
    return model


def withhold_personal(
    trained: Tensor, global_params: Tensor, slices: tuple[slice, ...]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the vector to send after a training, and the tensors to keep at the store.

    Args:
        trained: float32 [P], the store's model after training
        global_params: float32 [P], the vector that the server sent
        slices: places of the personal tensors in the vectors

    Returns:
        (float32 [P] with the server's values in the personal places, state with the store's own).
    """
    if not slices:
        return trained, {}
    values = torch.cat([trained[personal_slice] for personal_slice in slices])
    sent = trained.clone()
    for personal_slice in slices:
        sent[personal_slice] = global_params[personal_slice].to(trained.device)
    return sent, {_OWN_LAYERS: values}


def local_tensors(state: Tensors, shared: Tensors) -> dict[str, Tensor]:
    """Return a store's own tensors, in the shapes of the shared ones.

    Args:
        state: the tensors that the store kept between its rounds
        shared: the global model's tensors that are personal at stores, by name, in vector order

    Returns:
        Tensors by the names of `shared`; {} if the store has none.

    Raises:
        DataError: their sizes differ.
    """
    if _OWN_LAYERS not in state:
        return {}
    if state[_OWN_LAYERS].numel() != (size := sum(tensor.numel() for tensor in shared.values())):
        raise DataError(
            f"The store kept {state[_OWN_LAYERS].numel():,} numbers of its own; the model has room"
            f" for {size:,}."
        )
    pieces = state[_OWN_LAYERS].split([tensor.numel() for tensor in shared.values()])
    return {
        name: piece.reshape(shared[name].shape) for name, piece in zip(shared, pieces, strict=True)
    }
