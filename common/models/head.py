"""The head, a network's last layer with weights: the only part that is replaced, and that trains when frozen."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional


def head_name(module: nn.Module) -> str:
    """Name of the head within `module`: its last dense layer, or, without any, its last convolution."""
    dense: list[str] = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    convolutions: list[str] = [name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d)]
    return (dense or convolutions)[-1]


def freeze_backbone(module: nn.Module) -> None:
    """Let only the head train; see `set_training` for the layers that keep statistics."""
    module.requires_grad_(False)
    module.get_submodule(head_name(module)).requires_grad_(True)


def set_training(module: nn.Module, mode: bool) -> None:
    """Like `module.train(mode)`, but the frozen part of a network always stays in evaluation mode.

    So batch-norm statistics of a frozen backbone do not move, and its dropout is off. A network is
    partly frozen if any of its parameters does not require a gradient.
    """
    module.train(mode)
    if mode and not all(parameter.requires_grad for parameter in module.parameters()):
        for part in module.modules():
            part.training = any(parameter.requires_grad for parameter in part.parameters(recurse=False))


def drop_before_head(module: nn.Module, probability: float) -> None:
    """Drop features before the head while it trains; names in the state dict stay as they are."""
    module.get_submodule(head_name(module)).register_forward_pre_hook(partial(_drop, probability))


def _drop(probability: float, head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (functional.dropout(inputs[0], probability, head.training),)
