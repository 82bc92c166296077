"""The head, a network's last layer with weights, and the choice of the part that trains."""

import itertools
from collections.abc import Iterator

from torch import Tensor, nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.models.dropout import Dropout


def head_name(module: nn.Module) -> str:
    """Return the name of a network's last dense layer, or, without any, its last convolution."""
    dense: list[str] = [
        name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)
    ]
    convolutions: list[str] = [
        name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)
    ]
    return (dense or convolutions)[-1]


_CLASS_LAYERS = "class_layers"  # an attribute of networks


def name_class_layers(module: nn.Module, names: tuple[str, ...]) -> None:
    """Note the layers of a network, by name, that have a row for each class, if there are several.

    Published weights for other classes do not fill them.
    """
    setattr(module, _CLASS_LAYERS, names)


def class_layers(module: nn.Module) -> tuple[str, ...]:
    """Return the names of the layers with a row for each class; of most networks the head alone."""
    names: tuple[str, ...] = getattr(module, _CLASS_LAYERS, ())
    return names or (head_name(module),)


def ends_in_head(module: nn.Module) -> bool:
    """Return whether no activation follows the head of `module`; in SqueezeNet a ReLU does."""
    parts = list(module.modules())
    following = parts[parts.index(module.get_submodule(head_name(module))) + 1 :]
    return not any(type(part).__module__ == nn.modules.activation.__name__ for part in following)


def freeze(module: nn.Module, part: str) -> None:
    """Let only a part of a network train, in place.

    `set_training` cares for the layers that keep statistics.

    Args:
        module: the network
        part: the frozen part, as in `ModelSpec.freeze`

    Raises:
        ConfigError: the network has fewer blocks than shall train.
    """
    if part == "none":
        return
    blocks_of_backbone = blocks(module)
    count = int(part.removeprefix("last:")) if part != "backbone" else 0
    if count > len(blocks_of_backbone):
        raise ConfigError(
            f"Setting model.freeze got {part}, but the model has {len(blocks_of_backbone)} blocks;"
            " use fewer, or none."
        )
    module.requires_grad_(False)
    module.get_submodule(head_name(module)).requires_grad_(True)
    for layer in itertools.chain.from_iterable(
        blocks_of_backbone[len(blocks_of_backbone) - count :]
    ):
        layer.requires_grad_(True)


def blocks(module: nn.Module) -> list[list[nn.Module]]:
    """Return the blocks of the backbone, from input to output.

    A block is a residual block, an inception block, an encoder layer, or, in a plain network, a
    convolution or a dense layer. A norm belongs to the block that it follows.
    """
    grouped: list[list[nn.Module]] = []
    size = sum(parameter.numel() for parameter in module.parameters())
    for part in _parts_with_weights(module, module.get_submodule(head_name(module)), size):
        is_norm = all(parameter.ndim == 1 for parameter in part.parameters())
        if is_norm and grouped:
            grouped[-1].append(part)
        else:
            grouped.append([part])
    return grouped


def _parts_with_weights(module: nn.Module, head: nn.Module, size: int) -> Iterator[nn.Module]:
    """Yield the parts with weights, in order.

    It goes into mere lists, and into a part that holds most of the network.
    """
    for child in module.children():
        size_of_child = sum(parameter.numel() for parameter in child.parameters())
        if child is head or not size_of_child:
            continue
        is_list = isinstance(child, nn.Sequential | nn.ModuleList) or 2 * size_of_child > size
        if is_list and any(True for _ in child.children()):
            yield from _parts_with_weights(child, head, size)
        else:
            yield child


def set_training(module: nn.Module, mode: bool) -> None:
    """Set training mode like `module.train(mode)`, but leave the frozen part in evaluation mode.

    So batch-norm statistics of a frozen backbone do not move, and its dropout is off. A network is
    partly frozen if any of its parameters does not require a gradient. Layers without parameters
    follow the parameters before them.
    """
    module.train(mode)
    if mode and not all(parameter.requires_grad for parameter in module.parameters()):
        trains = False
        for part in module.modules():
            requires_grad = [
                parameter.requires_grad for parameter in part.parameters(recurse=False)
            ]
            trains = any(requires_grad) if requires_grad else trains
            part.training = trains


def add_dropout_before_head(module: nn.Module, probability: float) -> None:
    """Drop features before the head while it trains; names in the state dict stay as they are."""
    head = module.get_submodule(head_name(module))
    head.add_module("dropout", Dropout(probability))
    head.register_forward_pre_hook(_drop_inputs)


def _drop_inputs(head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (head.get_submodule("dropout")(inputs[0]),)
