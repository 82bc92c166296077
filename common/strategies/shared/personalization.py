"""Parts of the model that stay at a store: there its own values take the place of what the server sends.

The vectors that travel keep their length: in the place of what stays, a store sends back what it got. So the change of
an update is zero there, whatever combines, screens or compresses it.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from fedshelf.common.errors import DataError
from fedshelf.common.parameters.layout import Layout, Tensors

_OWN = "personal.own"  # a store's own values, among what it keeps between rounds


def spans(layout: Layout, names: Iterable[str]) -> tuple[slice, ...]:
    """Where the tensors of these names lie in the vector."""
    return tuple(layout.span(name) for name in names)


def own_model(sent: Tensor, kept: Tensors, places: tuple[slice, ...]) -> Tensor:
    """The model (float32 [P]) that a store works with: what the server `sent`, with its own values if it has any."""
    if not places or _OWN not in kept:
        return sent
    model, values = sent.clone(), kept[_OWN].to(sent.device)
    for place, part in zip(places, values.split([place.stop - place.start for place in places]), strict=True):
        model[place] = part
    return model


def withhold(trained: Tensor, sent: Tensor, places: tuple[slice, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """What travels of a `trained` model (float32 [P]), and what the store keeps of it."""
    if not places:
        return trained, {}
    values, travelling = torch.cat([trained[place] for place in places]), trained.clone()
    for place in places:
        travelling[place] = sent[place].to(trained.device)
    return travelling, {_OWN: values}


def own_tensors(kept: Tensors, shared: Tensors) -> dict[str, Tensor]:
    """A store's own tensors in the place of the `shared` ones that do not travel, in that order; none: it has none.

    Raises DataError if they are not of those sizes.
    """
    if _OWN not in kept:
        return {}
    if kept[_OWN].numel() != (size := sum(tensor.numel() for tensor in shared.values())):
        raise DataError(f"The store kept {kept[_OWN].numel():,} numbers of its own; the model has room for {size:,}.")
    parts = kept[_OWN].split([tensor.numel() for tensor in shared.values()])
    return {name: part.reshape(shared[name].shape) for name, part in zip(shared, parts, strict=True)}
