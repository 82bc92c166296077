"""The head, a network's last layer with weights: the only part that is replaced, and that trains when frozen."""

from torch import Tensor, nn

from common.models.dropout import Dropout


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
        module.eval()
        for part in module.modules():
            if any(parameter.requires_grad for parameter in part.parameters(recurse=False)):
                part.train()


def drop_before_head(module: nn.Module, probability: float) -> None:
    """Drop features before the head while it trains; names in the state dict stay as they are."""
    head = module.get_submodule(head_name(module))
    head.add_module("dropout", Dropout(probability))
    head.register_forward_pre_hook(_drop)


def _drop(head: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    return (head.get_submodule("dropout")(inputs[0]),)
