"""Networks by name: ours, one file each, and every torchvision classification model.

A new network is one file with a function `build(classes, image_size, channels) -> nn.Module` that
maps float32 [N, channels, image_size, image_size] to logits [N, classes], and one line in `OURS`.
An installed package may add a `ModelInfo` as an entry point (`common.plugins`).
"""

import difflib
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common import plugins
from fedshelf.common.config import ModelConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.models.spec import ModelInfo, ModelSpec
from fedshelf.common.seeding import derive

if TYPE_CHECKING:
    from torch import nn

# pixels: the side of the input of our networks for photos, which have no common size of their own
PHOTO_SIZE = 64

# name -> the address of its builder, and the smallest image it takes (pixels)
OURS: dict[str, tuple[str, int]] = {
    "cnn": ("fedshelf.common.models.cnn:build", 8),
    "niid-cnn": ("fedshelf.common.models.niid_cnn:build", 16),
    "mcmahan-cnn": ("fedshelf.common.models.mcmahan_cnn:build", 4),
    "moderate-cnn": ("fedshelf.common.models.moderate_cnn:build", 8),
    "fashion-cnn": ("fedshelf.common.models.fashion_cnn:build", 8),
    "pfl-cnn": ("fedshelf.common.models.pfl_cnn:build", 6),
}


def names() -> tuple[str, ...]:
    """Return the names of our own networks; torchvision's are not among them."""
    return tuple(OURS)


def specify(
    config: ModelConfig,
    classes: tuple[str, ...],
    *,
    image_size: int,
    native_size: int | None,
    channels: int,
) -> ModelSpec:
    """Return a network's specification, with image size and normalisation settled.

    Args:
        config: name and variant of the network
        classes: names of the classes, in the order of the outputs
        image_size: pixels, as asked for; 0: `native_size` if the network accepts it, else its
            default one
        native_size: pixels, side of the data set's images, or None if they have no common one
        channels: 1 (grey) or 3 (RGB)

    Raises:
        ConfigError: the network is unknown, or does not accept the size.
    """
    info = _model_info(config.name)
    size = image_size or native_size or info.default_size
    if not info.accepts(size):
        if image_size:
            raise ConfigError(
                f"Model {config.name} takes images of {info.describe_sizes()}, but"
                f" data.image_size is {image_size}; set another size, or 0 to let the model choose."
            )
        size = info.default_size
    return ModelSpec(
        name=config.name,
        classes=classes,
        image_size=size,
        channels=channels,
        mean=_per_channel(info.mean, channels),
        std=_per_channel(info.std, channels),
        norm=config.norm,
        dropout=config.dropout,
        freeze=config.freeze,
    )


def build(spec: ModelSpec, *, weights: str = "none", seed: int = 0) -> "nn.Module":
    """Return the network on the CPU.

    It maps float32 [N, channels, image_size, image_size], normalised, to logits [N, classes].

    The global random generator is left as it was.

    Args:
        spec: the network's specification
        weights: none (drawn at random from `seed`), torchvision, or a .safetensors file (see
            `weights.load_fitting`)
        seed: the run's seed

    Raises:
        ConfigError: `weights` or the norm does not go with the network.
        DataError: the weights cannot be had, or do not fit.
    """
    import torch

    info = _model_info(spec.name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "init"))
        module = info.build(len(spec.classes), spec.image_size, spec.channels)
        _adapt(module, spec)
    if weights != "none":
        _load_weights(module, spec, weights)
    return module


def check_weights(config: ModelConfig) -> None:
    """Check the initial weights before anything is built.

    Raises:
        ConfigError: they are in a kind of file that is never opened.
        DataError: the file cannot be read, or is no model.
    """
    if config.weights == "none":
        return
    _check_source(config.name, config.weights)
    if config.weights != "torchvision":
        from fedshelf.common.models.weights import read_weights

        read_weights(Path(config.weights))


def set_training(module: "nn.Module", mode: bool) -> None:
    """Set training mode like `module.train(mode)`, but leave the frozen part in evaluation mode."""
    from fedshelf.common.models import head

    head.set_training(module, mode)


def _model_info(name: str) -> ModelInfo:
    plugin = plugins.find_plugin(plugins.MODEL, name, OURS)
    if name in OURS:
        address, min_size = OURS[name]
        return ModelInfo(
            build=partial(_build_ours, address), default_size=PHOTO_SIZE, min_size=min_size
        )
    from fedshelf.common.models import torchvision_zoo

    known = torchvision_zoo.names()
    if name in known:
        plugins.find_plugin(plugins.MODEL, name, known)
        return torchvision_zoo.find(name)
    if isinstance(plugin, ModelInfo):
        return plugin
    if plugin is not None:
        raise plugins.wrong_plugin(plugins.MODEL, name, "a ModelInfo")
    added = plugins.plugin_names(plugins.MODEL)
    suggestions = difflib.get_close_matches(name, [*OURS, *added, *known], n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(suggestions)}?"
        if suggestions
        else f"ours are {', '.join(OURS)}."
    )
    raise ConfigError(
        f"Unknown model {name!r}: expected one of ours or a torchvision classification model;"
        f" {hint}"
    )


def _build_ours(address: str, classes: int, image_size: int, channels: int) -> "nn.Module":
    """Import the file of a network, and torch with it, only when the network is built."""
    module, _, function = address.partition(":")
    built: nn.Module = getattr(import_module(module), function)(classes, image_size, channels)
    return built


def _per_channel(rgb: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return rgb if channels == 3 else (sum(rgb) / 3,)


def _adapt(module: "nn.Module", spec: ModelSpec) -> None:
    """Apply norms, dropout and freezing to `module`, in place."""
    from fedshelf.common.models.dropout import replace_dropout
    from fedshelf.common.models.head import add_dropout_before_head, freeze
    from fedshelf.common.models.norms import replace_norms

    if spec.norm != "default" and not replace_norms(module, spec.norm):
        raise ConfigError(
            f"Model {spec.name} has no batch or group norm to turn into model.norm={spec.norm};"
            " leave it at default."
        )
    replace_dropout(module)
    if spec.dropout:
        add_dropout_before_head(module, spec.dropout)
    freeze(module, spec.freeze)


def _check_source(name: str, weights: str) -> None:
    """Raise ConfigError if the network cannot take weights from this source, without reading it."""
    from fedshelf.common.models.weights import check_file_name

    if weights != "torchvision":
        check_file_name(weights)
    elif name in OURS or name in plugins.plugin_names(plugins.MODEL):
        raise ConfigError(
            f"Model {name} is not torchvision's; set model.weights to none or a file."
        )


def _load_weights(module: "nn.Module", spec: ModelSpec, weights: str) -> None:
    from fedshelf.common.models.weights import load_fitting, read_weights, without_head

    _check_source(spec.name, weights)
    if weights == "torchvision":
        from fedshelf.common.models import torchvision_zoo

        load_fitting(module, torchvision_zoo.pretrained(spec.name), "torchvision")
        return
    file = read_weights(Path(weights))
    file_spec = file.spec
    same_classes = file_spec is None or file_spec.classes == spec.classes
    tensors = file.tensors if same_classes else without_head(module, file.tensors)
    note = f" (a {file_spec.name} for {file_spec.image_size} px)" if file_spec else ""
    load_fitting(module, tensors, weights + note)
