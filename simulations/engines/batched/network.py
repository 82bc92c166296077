"""One network for many stores: the layers that train hold a set of weights per store."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedshelf.common import models
from fedshelf.common.errors import ConfigError
from fedshelf.common.models import dropout
from fedshelf.common.models.head import set_training
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.tasks import Task, task_of
from fedshelf.common.training.fit import Network
from fedshelf.simulations.engines.batched.layers import STACKED, Stacked


def is_stackable(spec: ModelSpec) -> bool:
    """Return whether many stores can train this network at once."""
    return _varies_nothing(task_of(spec)) and unstackable_layer_of(spec) is None


def unstackable_layer_of(spec: ModelSpec) -> str | None:
    """Return the kind of layer for which many stores cannot train this network at once, if any.

    Args:
        spec: the model.

    Returns:
        The name of the layer's class; None if many stores can train it at once.
    """
    with torch.device("meta"):  # shapes alone
        module = models.build(spec)
    if spec.name in models.TORCHVISION_SCENES:  # see `check_stackable`
        return type(module).__name__
    return find_unstackable_layer(module, Layout.from_module(module))


def find_unstackable_layer(module: nn.Module, layout: Layout) -> str | None:
    """Return the kind of layer for which many stores cannot train `module` at once, or None if they
    can.
    """
    set_training(module, mode=True)
    for prefix, layer in module.named_modules():
        tensor_names = {f"{prefix}.{name}".removeprefix(".") for name, _ in _tensors(layer)}
        sent = tensor_names & set(layout.names)
        if sent and (type(layer) not in STACKED or sent < tensor_names):
            return type(layer).__name__
        if layer.training and _draws_random_numbers(layer):
            return type(layer).__name__
    return None


def _varies_nothing(task: Task) -> bool:
    """Return whether a task takes batches as they are: the stores' batches are one here."""
    return type(task).vary is Task.vary


def check_stackable(network: Network) -> None:
    """Check that many stores can train `network` at once; raise ConfigError if not."""
    if not _varies_nothing(network.task):
        raise ConfigError(
            f"The engine batched cannot train for train.objective={network.task.name}, which"
            " changes each store's photos by a generator of its own; use --engine sequential."
        )
    if network.spec.name in models.TORCHVISION_SCENES:
        raise ConfigError(
            f"Model {network.spec.name} reorders channels between its layers, or draws proposals at"
            " random, with which the engine batched cannot train many stores at once; use --engine"
            " sequential."
        )
    if kind := find_unstackable_layer(network.module, network.layout):
        raise ConfigError(
            f"Model {network.spec.name} has layers of kind {kind}, with which the engine batched"
            " cannot train many stores at once; use --engine sequential, or model.norm=group if it"
            " is for batch norm."
        )


@dataclass(frozen=True)
class _TensorSlot:
    """The place of a stacked layer's tensor in a store's vector."""

    layer: Stacked
    name: str
    start: int
    shape: torch.Size

    def of(self, vectors: Tensor) -> Tensor:
        """Return its view of `vectors` [S, P], for autograd a leaf: [S, *shape]."""
        piece = vectors[:, self.start : self.start + self.shape.numel()]
        return piece.view(len(vectors), *self.shape).detach().requires_grad_()


class StackedNetwork:
    """A copy of `network` with weights for up to `stores` stores.

    weights: float32 [stores, P], one row a store; write to it to load
    stores:  S, number of stores that take part at present: the first rows

    The network must be stackable: see `check`. It takes features if it is made `on_features`, of
    the part of the network that trains.
    """

    def __init__(self, network: Network, stores: int, *, on_features: bool = False) -> None:
        module = network.module
        if on_features:
            assert network.frozen_part is not None, "features are made by the frozen part"
            module = network.frozen_part.rest
        # the network itself may be one layer
        root = nn.ModuleDict({"network": copy.deepcopy(module)})
        set_training(root, mode=True)
        layers = _stack(root, set(network.layout.names), "")
        self.module = root["network"]
        self.weights = network.vector.expand(stores, -1).clone()
        self._gradient = torch.empty_like(self.weights)
        self._slots = []
        offset = 0
        for name, shape in zip(network.layout.names, network.layout.shapes, strict=True):
            prefix, _, leaf = name.rpartition(".")
            self._slots.append(_TensorSlot(layers[prefix], leaf, offset, shape))
            offset += shape.numel()
        self.narrow(stores)

    def narrow(self, stores: int) -> None:
        """Let only the first `stores` rows take part, until the next call."""
        self.stores = stores
        self._leaves = [slot.of(self.weights[:stores]) for slot in self._slots]
        for slot, leaf in zip(self._slots, self._leaves, strict=True):
            setattr(slot.layer, slot.name, leaf)
        dropout.limit_stores(self.module, stores)

    def address(self, seeds: list[int]) -> None:
        """Start local trainings whose dropout has these seeds, one per store (at most as many as
        there are rows).
        """
        # one shape, so that the keys stay in place
        padded = seeds + [0] * (len(self.weights) - len(seeds))
        dropout.seed_dropout(self.module, padded, self.weights.device)
        self.narrow(len(seeds))

    def logits(self, inputs: Tensor) -> Tensor:
        """Return the network's results [S * B, ...], store by store.

        Args:
            inputs: normalised images [S * B, channels, H, W], or features [S * B, ...].
        """
        scores: Tensor = self.module(inputs)
        return scores

    def gradient(self, loss: Tensor) -> Tensor:
        """Return dloss/dweights [S, P], overwritten by the next call.

        It is each store's own gradient if `loss` is a sum over stores.
        """
        pieces = torch.autograd.grad(loss, self._leaves)
        return torch.cat(
            [piece.flatten(1) for piece in pieces], dim=1, out=self._gradient[: self.stores]
        )


def _stack(module: nn.Module, travelling: set[str], prefix: str) -> dict[str, Stacked]:
    """Replace, in place, the layers below `module` whose tensors are sent; return the new ones by
    their names.
    """
    layers: dict[str, Stacked] = {}
    for name, child in module.named_children():
        path = f"{prefix}{name}.".removeprefix("network.")
        if any(path + own in travelling for own, _ in _tensors(child)):
            stacked = STACKED[type(child)](child)
            (
                setattr(module, name, stacked)
                if not isinstance(module, nn.ModuleDict)
                else module.update({name: stacked})
            )
            layers[path.removesuffix(".")] = stacked
        else:
            layers |= _stack(child, travelling, path)
    return layers


def _tensors(layer: nn.Module) -> list[tuple[str, Tensor]]:
    """Return a layer's own parameters and floating-point buffers."""
    buffers = [
        (name, buffer)
        for name, buffer in layer.named_buffers(recurse=False)
        if buffer.is_floating_point()
    ]
    return [*layer.named_parameters(recurse=False), *buffers]


def _draws_random_numbers(layer: nn.Module) -> bool:
    """Return whether a layer draws from torch's generator, which is not separate for each store."""
    kinds = (nn.Dropout1d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    return (isinstance(layer, kinds) or type(layer).__name__ == "StochasticDepth") and getattr(
        layer, "p", 0
    ) > 0
