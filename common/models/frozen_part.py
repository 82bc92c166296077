"""The frozen part of a network, and the part that trains, as two networks.

    images -> backbone (frozen) -> features -> rest (trains) -> logits

Nothing before the first layer that trains changes during a run, so its output can be computed once
for each image. Where one value passes from the frozen layers to the others (in a network whose head
trains, the head's input), it is the features. Where several do, as in a network whose head looks at
several depths, the features are all of them, flattened and joined.
"""

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fedshelf.common.models.spec import colour_inputs, grey_to_rgb


@dataclass(frozen=True)
class FrozenPart:
    """A network in two parts.

    Attributes:
        backbone: a frozen copy, for normalised images [B, channels, H, W] in channels-last order;
            batch norm is folded into the convolutions before it
        rest: maps features [B, *shape] to logits [B, C], with the layers of the whole network
        shape: shape of one image's features
    """

    backbone: nn.Module
    rest: nn.Module
    shape: torch.Size


def cut(module: nn.Module, example: Tensor) -> FrozenPart | None:
    """Cut a network before the first layer that trains.

    Args:
        module: the network, with its weights; neither it nor its weights are changed
        example: float32 [1, channels, H, W] on the network's device

    Returns:
        The two parts. None if no layer before the first one that trains is frozen, if something
        else than numbers of each image passes from frozen layers to others, or if the path through
        the network depends on its input, so that it cannot be traced.
    """
    if all(parameter.requires_grad for parameter in module.parameters()):
        return None
    graph = _trace(module)
    moving = _moving_nodes(graph, module) if graph else set[fx.Node]()
    if graph is None or any("training" in node.kwargs for node in moving):
        return None  # "training": a mode that the trace has made a constant
    crossing = [
        node
        for node in graph.nodes
        if node not in moving and any(user in moving for user in node.users)
    ]
    if not crossing or any(node.op == "placeholder" for node in crossing):
        return None
    backbone = _backbone(module, graph, moving, crossing)
    shapes = _shapes(backbone, example)
    if shapes is None:
        return None
    rest = _rest(module, graph, moving, dict(zip(crossing, shapes, strict=True)))
    _join_output(backbone)
    is_one = len(shapes) == 1
    shape = shapes[0] if is_one else torch.Size([sum(shape.numel() for shape in shapes)])
    return FrozenPart(backbone, rest, shape)


class _Tracer(fx.Tracer):
    """A tracer that looks into all modules but torch's own and those without inner ones."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        is_torch = super().is_leaf_module(m, module_qualified_name)
        return is_torch or not any(True for _ in m.children())


def _trace(module: nn.Module) -> fx.Graph | None:
    """Return the graph of a network; None if it has none, or if unknown hooks change its values."""
    hooks = list(module._forward_pre_hooks.values())
    if module._forward_hooks or any(hook is not colour_inputs for hook in hooks):
        return None
    try:
        graph = _Tracer().trace(module)
    except Exception:  # a network may do anything; then its images go through the whole of it
        return None
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    if len(inputs) != 1:
        return None
    if hooks:  # which a trace leaves out
        (grey,) = inputs
        with graph.inserting_after(grey):
            colour = graph.call_function(grey_to_rgb, (grey,))
        grey.replace_all_uses_with(colour, lambda user: user is not colour)
    return graph


def _moving_nodes(graph: fx.Graph, module: nn.Module) -> set[fx.Node]:
    """Return the nodes whose values change while the network trains."""
    moving = set[fx.Node]()
    for node in graph.nodes:
        comes_later = node.op == "output" or any(user in moving for user in node.all_input_nodes)
        if comes_later or any(weight.requires_grad for weight in _weights(node, module)):
            moving.add(node)
    return moving


def _weights(node: fx.Node, module: nn.Module) -> list[Tensor]:
    """Return the weights that a node of a network's graph uses.

    Its statistics, if it has any, move only if one of them trains (see `head.set_training`).
    """
    name = str(node.target)
    if node.op == "call_module":
        return list(module.get_submodule(name).parameters())
    if node.op == "get_attr":
        owner, _, leaf = name.rpartition(".")
        return [getattr(module.get_submodule(owner), leaf)]
    return []


def _shapes(backbone: nn.Module, example: Tensor) -> list[torch.Size] | None:
    """Return the shapes of the values of one image.

    Args:
        backbone: returns a tuple of values
        example: float32 [1, channels, H, W]

    Returns:
        The shapes; None if a value is no tensor with a row of numbers for each image.
    """
    with torch.inference_mode():
        # two images: a tensor that has nothing to do with them has not as many rows
        values = backbone(torch.cat([example, example]))
    has_rows = [
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.ndim > 1
        and len(value) == 2
        for value in values
    ]
    return [value.shape[1:] for value in values] if all(has_rows) else None


def _rest(
    module: nn.Module,
    graph: fx.Graph,
    moving: set[fx.Node],
    shapes: Mapping[fx.Node, torch.Size],
) -> nn.Module:
    """Return the part of a network after the crossing values; it shares the network's layers."""
    rest = fx.Graph()
    features = rest.placeholder("features")
    copies = dict.fromkeys(shapes, features)
    if len(shapes) > 1:
        parts = rest.call_function(_separated, (features, tuple(shapes.values())))
        for place, node in enumerate(shapes):
            copies[node] = rest.call_function(operator.getitem, (parts, place))
    for node in graph.nodes:
        if node in moving:
            copies[node] = rest.node_copy(node, copies.__getitem__)
    return fx.GraphModule(module, rest)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Return tensors [B, ...] as one of shape [B, sum of their sizes]."""
    return torch.cat([part.flatten(1) for part in parts], dim=1)


def _separated(joined: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Return the tensors [B, *shape] that were joined to [B, sum of their sizes]."""
    parts = joined.split([math.prod(shape) for shape in shapes], dim=1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def _backbone(
    module: nn.Module, graph: fx.Graph, moving: set[fx.Node], crossing: Sequence[fx.Node]
) -> fx.GraphModule:
    """Return a frozen copy of the part of a network up to the crossing values.

    It returns a tuple of them, equal to rounding.
    """
    backbone = fx.Graph()
    copies = dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        if node not in moving:
            copies[node] = backbone.node_copy(node, copies.__getitem__)
        if node is crossing[-1]:
            break
    backbone.output(tuple(copies[node] for node in crossing))
    frozen = copy.deepcopy(fx.GraphModule(module, backbone)).eval().requires_grad_(False)
    _fold(frozen, nn.BatchNorm2d, fuse_conv_bn_eval)
    if torch.backends.mkldnn.is_available() and _is_on_cpu(frozen):
        _use_onednn(frozen)
    channels_last: fx.GraphModule = frozen.to(memory_format=torch.channels_last)
    return channels_last


def _join_output(backbone: fx.GraphModule) -> None:
    """Let a network that returns a tuple return its values joined, or its only one, in place."""
    output = next(iter(reversed(backbone.graph.nodes)))
    (values,) = output.args
    with backbone.graph.inserting_before(output):
        is_one = len(values) == 1
        output.args = (values[0] if is_one else backbone.graph.call_function(_joined, (values,)),)
    backbone.recompile()


def _fold(
    frozen: fx.GraphModule,
    kind: type[nn.Module],
    fold: Callable[[Any, Any], nn.Module],
    into: type[nn.Module] = nn.Conv2d,
) -> None:
    """Fold each layer of one kind that alone follows a convolution into it, in place."""
    for node in list(frozen.graph.nodes):
        before = node.args[0] if node.op == "call_module" else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        layer = frozen.get_submodule(str(node.target))
        convolution = frozen.get_submodule(str(before.target))
        if isinstance(layer, kind) and type(convolution) is into:
            frozen.set_submodule(str(before.target), fold(convolution, layer))
            node.replace_all_uses_with(before)
            frozen.graph.erase_node(node)
    frozen.delete_all_unused_submodules()
    frozen.recompile()


def _is_on_cpu(module: nn.Module) -> bool:
    return all(parameter.device.type == "cpu" for parameter in module.parameters())


def _use_onednn(frozen: fx.GraphModule) -> None:
    """Let oneDNN compute all convolutions on the CPU, with the ReLU or ReLU6 after them, in place.

    PyTorch itself leaves small convolutions to a slower routine (some 40% of the time of a whole
    network), and the choice depends on the size of the batch: so would the bits of an image's
    features. Those of oneDNN do not.
    """
    for name, layer in list(frozen.named_modules()):
        if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and layer.padding != "same":
            frozen.set_submodule(name, _OneDnnConvolution(layer))
    for kind, highest in ((nn.ReLU, None), (nn.ReLU6, 6.0)):
        _fold(frozen, kind, partial(_clamped, highest=highest), _OneDnnConvolution)


def _clamped(
    convolution: "_OneDnnConvolution", _: nn.Module, *, highest: float | None
) -> "_OneDnnConvolution":
    return _OneDnnConvolution(convolution.convolution, clamp=(0.0, highest))


class _OneDnnConvolution(nn.Module):
    """A convolution by oneDNN, and a clamp of its values to a range, if one is given."""

    def __init__(
        self, convolution: nn.Conv2d, clamp: tuple[float, float | None] | None = None
    ) -> None:
        super().__init__()
        self.convolution = convolution
        self._clamp = clamp

    def forward(self, images: Tensor) -> Tensor:
        """Return the result for float32 [B, C, H, W] in channels-last order."""
        layer = self.convolution
        padding = (0, 0) if isinstance(layer.padding, str) else layer.padding
        values: Tensor = torch.mkldnn_convolution(
            images,
            layer.weight,
            layer.bias,
            padding,
            layer.stride,
            layer.dilation,
            layer.groups,
        )
        return values if self._clamp is None else values.clamp_(*self._clamp)
