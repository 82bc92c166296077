"""A model's parameters as one flat vector.

A network's trainable parameters and floating-point buffers are views of one float32 vector. So an
optimizer step, an update and an aggregate are each one operation on it, and a message carries one
array. Integer buffers (counters) are not part of it: a mean of them has no meaning.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedshelf.common.models.head import class_layers, ends_in_head, head_name
from fedshelf.common.models.norms import FixedStatistics

Tensors = Mapping[str, Tensor]

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm)


@dataclass(frozen=True)
class Layout:
    """The place of each named tensor in the vector: the trainable ones first, then the buffers.

    Attributes:
        names: names of the tensors as in the module's state dict, in vector order
        shapes: their shapes
        trainable: T, number of floats that an optimizer moves; the rest, up to `size`, are buffers
        size: P, number of floats in the vector
        head: the last layer with weights: `head`.weight has a row for each class
        norms: names of the tensors that belong to normalisation layers
        ends_in_head: the head's outputs are the scores, or means of them: no activation follows
        class_layers: the layers with a row for each class; of most networks the head alone

    >>> layout = Layout.from_module(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3)))
    >>> layout.trainable, layout.size
    (21, 27)
    >>> layout.slice_of("1.bias")
    slice(12, 15, None)
    >>> views = layout.split_views(torch.arange(27.0))
    >>> views["1.weight"].shape, views["2.running_var"].tolist()
    (torch.Size([3, 4]), [24.0, 25.0, 26.0])
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    trainable: int
    size: int
    head: str = ""
    norms: frozenset[str] = frozenset()
    ends_in_head: bool = True
    class_layers: tuple[str, ...] = ()

    @classmethod
    def from_module(cls, module: nn.Module) -> "Layout":
        """Return the layout of the tensors of `module` that travel.

        These are all floating-point tensors but frozen parameters and buffers of frozen layers.
        """
        weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        tensors = weights | _moving_buffers(module)
        return cls(
            names=tuple(tensors),
            shapes=tuple(tensor.shape for tensor in tensors.values()),
            trainable=sum(p.numel() for p in weights.values()),
            size=sum(tensor.numel() for tensor in tensors.values()),
            head=head_name(module),
            norms=frozenset(
                name for name in tensors if isinstance(module.get_submodule(_layer(name)), NORMS)
            ),
            ends_in_head=ends_in_head(module),
            class_layers=class_layers(module),
        )

    def slice_of(self, name: str) -> slice:
        """Return the place of the tensor `name` in the vector.

        Raises:
            ValueError: no tensor has this name.
        """
        index = self.names.index(name)
        start = sum(shape.numel() for shape in self.shapes[:index])
        return slice(start, start + self.shapes[index].numel())

    def head_slices(self) -> tuple[slice, ...]:
        """Return the places of the head's weight and bias (if it has one) in the vector.

        Each consists of one row (of the weight) or one number (of the bias) for each class.
        """
        names = (f"{self.head}.weight", f"{self.head}.bias")
        return tuple(self.slice_of(name) for name in names if name in self.names)

    @property
    def classes(self) -> int:
        """The number of rows of the head."""
        return self.shapes[self.names.index(f"{self.head}.weight")][0]

    def split_views(self, vector: Tensor) -> dict[str, Tensor]:
        """Return views of a vector, each in the shape of its tensor.

        Args:
            vector: float32 [P]

        Returns:
            Views by the names of the tensors: to write to one is to write to the vector.
        """
        assert vector.shape == (self.size,), (vector.shape, self.size)
        pieces = vector.split([shape.numel() for shape in self.shapes])
        return {
            name: piece.view(shape)
            for name, shape, piece in zip(self.names, self.shapes, pieces, strict=True)
        }


def bind(module: nn.Module, layout: Layout) -> Tensor:
    """Move the tensors of a layout into one new vector, and make the module use views of it.

    Args:
        module: changed in place
        layout: the module's layout

    Returns:
        Float32 [P]: to write to it is to change the module.
    """
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    vector = torch.cat([state[name].detach().reshape(-1).float() for name in layout.names])
    for name, view in layout.split_views(vector).items():
        owner = module.get_submodule(_layer(name))
        leaf = name.rpartition(".")[2]
        if leaf in owner._parameters:
            state[name].data = view
        else:
            owner._buffers[leaf] = view
    return vector


def frozen_vector(module: nn.Module, layout: Layout) -> Tensor | None:
    """Return a copy of all floats that `layout` leaves out: float32 [F], or None if F is 0."""
    pieces = [tensor.detach().reshape(-1).float() for tensor in _frozen_tensors(module, layout)]
    return torch.cat(pieces) if pieces else None


def load_frozen(module: nn.Module, layout: Layout, frozen: Tensor) -> None:
    """Write a vector from `frozen_vector` into the tensors of a module that `layout` leaves out.

    Args:
        module: changed in place
        layout: the module's layout
        frozen: float32 [F]
    """
    targets = _frozen_tensors(module, layout)
    with torch.no_grad():
        for target, piece in zip(targets, frozen.split([t.numel() for t in targets]), strict=True):
            target.copy_(piece.view(target.shape))


def _layer(name: str) -> str:
    """Return the layer that the tensor `name` belongs to."""
    return name.rpartition(".")[0]


def _moving_buffers(module: nn.Module) -> dict[str, Tensor]:
    """Return the floating-point buffers of layers that train.

    If nothing is frozen, these include the buffers of layers without parameters.
    """
    nothing_frozen = all(p.requires_grad for p in module.parameters())
    buffers = {}
    for prefix, layer in module.named_modules():
        if isinstance(layer, FixedStatistics):
            continue
        layer_parameters = list(layer.parameters(recurse=False))
        if any(p.requires_grad for p in layer_parameters) or (
            nothing_frozen and not layer_parameters
        ):
            for name, buffer in layer.named_buffers(prefix, recurse=False):
                if buffer.is_floating_point():
                    buffers[name] = buffer
    return buffers


def _frozen_tensors(module: nn.Module, layout: Layout) -> list[Tensor]:
    """Return the floating-point tensors that `layout` leaves out, in the state dict's order."""
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return [
        tensor
        for name, tensor in state.items()
        if name not in layout.names and tensor.is_floating_point()
    ]
