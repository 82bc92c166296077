"""Personal parts of the model: at a store, its own values replace the values that the server sends.

The vectors that travel keep their length: in place of its personal values, a store sends back the
values it got. So the change of an update is zero there, however it is combined, screened or
compressed.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.parameters.layout import Layout, Tensors

_OWN = "personal.own"  # key of a store's own values in the state that it keeps between rounds


def spans(layout: Layout, names: Iterable[str]) -> tuple[slice, ...]:
    """Return the places of the named tensors in the vector."""
    return tuple(layout.slice_of(name) for name in names)


def own_model(sent: Tensor, kept: Tensors, places: tuple[slice, ...]) -> Tensor:
    """Return the model (float32 [P]) that a store works with: the `sent` one, with its own values
    if it has any.
    """
    if not places or _OWN not in kept:
        return sent
    model = sent.clone()
    values = kept[_OWN].to(sent.device)
    for place, part in zip(
        places, values.split([place.stop - place.start for place in places]), strict=True
    ):
        model[place] = part
    return model


def withhold(
    trained: Tensor, sent: Tensor, places: tuple[slice, ...]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the vector to send for a `trained` model (both float32 [P]), and the state to keep at
    the store.
    """
    if not places:
        return trained, {}
    values = torch.cat([trained[place] for place in places])
    travelling = trained.clone()
    for place in places:
        travelling[place] = sent[place].to(trained.device)
    return travelling, {_OWN: values}


def own_tensors(kept: Tensors, shared: Tensors) -> dict[str, Tensor]:
    """Return a store's own tensors for the `shared` ones that do not travel, in that order; {} if
    it has none.

    Raises DataError if their sizes differ.
    """
    if _OWN not in kept:
        return {}
    if kept[_OWN].numel() != (size := sum(tensor.numel() for tensor in shared.values())):
        raise DataError(
            f"The store kept {kept[_OWN].numel():,} numbers of its own; the model has room for"
            f" {size:,}."
        )
    parts = kept[_OWN].split([tensor.numel() for tensor in shared.values()])
    return {
        name: part.reshape(shared[name].shape) for name, part in zip(shared, parts, strict=True)
    }
