"""A network of a person's own: a class, a function that builds it, or a built one."""

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.models.head import head_name
from fedshelf.common.models.spec import ModelInfo

DEFAULT_SIZE = 64  # pixels, for photos of any size; images of one size keep theirs
CHECK_IMAGES = 2
CLASSES = ("num_classes", "classes")  # names of a builder's parameter for the number of outputs
PARAMETERS = (*CLASSES, "image_size", "channels")
BATCH_NORM_NOTE = (
    "{name} has batch norm (in {count} layers): the stores' statistics are averaged like weights,"
    " which does harm where stores differ much; strategy fedbn keeps them at the stores, model.norm"
    " group does without them."
)


def describe_network(name: str, own: Any) -> ModelInfo:
    """Return the facts about a person's own network, as the registry has them.

    Args:
        name: `module:Object`, for messages
        own: a `ModelInfo`; an `nn.Module`, of which each copy begins with its weights; or a class
            or function that is called with `num_classes`, `image_size` (pixels) and `channels`, as
            far as it has these parameters

    Raises:
        ConfigError: it is something else, or has other parameters that must be given.
    """
    if isinstance(own, ModelInfo):
        return own
    if isinstance(own, nn.Module):
        return ModelInfo(partial(_copy, own), DEFAULT_SIZE, min_size=1)
    if not callable(own):
        raise ConfigError(
            f"The model {name} is a {type(own).__name__}; expected an nn.Module, or a class or"
            " function that makes one from num_classes, image_size and channels."
        )
    return ModelInfo(partial(_call, name, own, _wanted(name, own)), DEFAULT_SIZE, min_size=1)


def _wanted(name: str, own: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters that a builder is given.

    Raises:
        ConfigError: it needs others.
    """
    parameters = inspect.signature(own).parameters
    required = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if unknown := [key for key in required if key not in PARAMETERS]:
        raise ConfigError(
            f"The model {name} must be given {', '.join(unknown)}; expected no parameters but"
            " num_classes, image_size (pixels) and channels, or others with defaults."
        )
    return frozenset(PARAMETERS) & parameters.keys()


def _call(
    name: str,
    own: Callable[..., Any],
    wanted: frozenset[str],
    classes: int,
    image_size: int,
    channels: int,
) -> nn.Module:
    values = dict.fromkeys(CLASSES, classes) | {"image_size": image_size, "channels": channels}
    try:
        module = own(**{key: values[key] for key in sorted(wanted)})
    except Exception as error:  # a person's code may raise anything
        raise ConfigError(
            f"The model {name} cannot be made for {classes} classes and images [{channels},"
            f" {image_size}, {image_size}]: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigError(
            f"The model {name} makes a {type(module).__name__}; expected an nn.Module."
        )
    return module


def _copy(own: nn.Module, _classes: int, _image_size: int, _channels: int) -> nn.Module:
    return copy.deepcopy(own)


def check_network(info: ModelInfo, name: str, classes: int, shape: tuple[int, int]) -> str:
    """Check all that a network of one's own must obey, before a run begins.

    Args:
        info: its builder
        name: `module:Object`, for messages
        classes: C, number of outputs
        shape: side of the images in pixels, and their channels

    Returns:
        A note on its batch norm; empty if it has none.

    Raises:
        ConfigError: it fails on such images, its output is not [B, C], it has no last layer with a
            row for each class, it is built another way each time, its parameters are shared or
            not float32, or it counts in whole numbers, which no mean over stores can keep.
    """
    size, channels = shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = info.build(classes, size, channels)
        torch.manual_seed(0)
        again = info.build(classes, size, channels)
        _check_tensors(name, module, again.state_dict())
        _check_head(name, module, classes)
        _check_output(name, module, torch.rand(CHECK_IMAGES, channels, size, size), classes)
    norms = sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())
    return BATCH_NORM_NOTE.format(name=name, count=norms) if norms else ""


def _check_tensors(name: str, module: nn.Module, again: Mapping[str, Tensor]) -> None:
    parameters = dict(module.named_parameters())
    if len(parameters) < len(list(module.named_parameters(remove_duplicate=False))):
        raise ConfigError(
            f"The model {name} uses a parameter in two places, which the vector that travels cannot"
            " hold; give each layer its own."
        )
    for key, parameter in parameters.items():
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise ConfigError(
                f"The model {name} has a lazy layer ({key}); give its layers their sizes."
            )
        if parameter.dtype != torch.float32 or parameter.device.type != "cpu":
            raise ConfigError(
                f"The parameter {key} of the model {name} is {parameter.dtype} on"
                f" {parameter.device}; expected torch.float32 on the CPU."
            )
    for key, tensor in module.state_dict().items():
        if key not in again or not torch.equal(tensor, again[key]):
            raise ConfigError(
                f"The model {name} is built another way each time ({key} differs with the same"
                " torch seed); draw initial weights with torch alone, so that a run can be"
                " repeated."
            )


def _check_head(name: str, module: nn.Module, classes: int) -> None:
    has_head = any(isinstance(layer, nn.Linear | nn.Conv2d) for layer in module.modules())
    head = module.get_submodule(head_name(module)) if has_head else None
    rows = head.weight.shape[0] if isinstance(head, nn.Linear | nn.Conv2d) else 0
    if rows != classes:
        raise ConfigError(
            f"The last nn.Linear (or, without one, nn.Conv2d) of the model {name} has {rows} rows;"
            f" expected one for each of the {classes} classes."
        )


def _check_output(name: str, module: nn.Module, images: Tensor, classes: int) -> None:
    counters = {
        key: buffer.clone()
        for key, buffer in module.named_buffers()
        if not buffer.is_floating_point() and not key.endswith("num_batches_tracked")
    }
    try:
        module.train()(images)
        with torch.no_grad():
            scores = module.eval()(images)
    except Exception as error:  # a person's code may raise anything
        raise ConfigError(
            f"The model {name} fails on images {list(images.shape)}: {type(error).__name__}:"
            f" {error}."
        ) from error
    expected = (len(images), classes)
    if not isinstance(scores, Tensor) or scores.shape != expected or scores.dtype != torch.float32:
        got = f"{scores.dtype} {list(scores.shape)}" if isinstance(scores, Tensor) else repr(scores)
        raise ConfigError(
            f"The model {name} returns {got:.200} for images {list(images.shape)}; expected float32"
            f" class scores {list(expected)}, before any softmax."
        )
    for key, buffer in module.named_buffers():
        if key in counters and not torch.equal(buffer, counters[key]):
            raise ConfigError(
                f"The model {name} counts in {key}, a buffer of whole numbers: it would stay at"
                " each store, as a mean of counts means nothing; leave it out, or keep it as"
                " floats."
            )
