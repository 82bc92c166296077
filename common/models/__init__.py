"""Networks by name: ours, one file each, torchvision's classifiers, and some for scenes.

A new network is one file with a function `build(classes, image_size, channels) -> nn.Module` that
maps float32 [N, channels, image_size, image_size] to logits [N, classes], and one line in `OURS`;
or, for boxes or masks of scenes, in `SCENES`.
An installed package may add a `ModelInfo` as an entry point (`common.plugins`), and a person gives
one of their own by its name `module:Object` (`common.own_objects`).
"""

import difflib
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common import own_objects, plugins
from fedshelf.common.config import ModelConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.hub import HUB
from fedshelf.common.models.spec import TIMM, ModelInfo, ModelSpec, Output, accept_grey
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.release.verify import is_release
from fedshelf.common.seeding import derive

if TYPE_CHECKING:
    from torch import nn

    from fedshelf.common.models.weights import LoadedWeights

# pixels: the side of the input of our networks for photos, which have no common size of their own
PHOTO_SIZE = 64

# name -> the address of its builder, and the smallest image it takes (pixels)
OURS: dict[str, tuple[str, int]] = {
    "cnn": ("fedshelf.common.models.networks.cnn:build", 8),
    "niid-cnn": ("fedshelf.common.models.networks.niid_cnn:build", 16),
    "mcmahan-cnn": ("fedshelf.common.models.networks.mcmahan_cnn:build", 4),
    "moderate-cnn": ("fedshelf.common.models.networks.moderate_cnn:build", 8),
    "fashion-cnn": ("fedshelf.common.models.networks.fashion_cnn:build", 8),
    "pfl-cnn": ("fedshelf.common.models.networks.pfl_cnn:build", 6),
}

# networks for whole scenes: name -> the address of the builder, the number that the side of an
# image must be a multiple of (pixels), and the result (`ModelInfo.output`)
SCENES: dict[str, tuple[str, int, Output]] = {
    "locator": ("fedshelf.common.models.networks.locator:build", 4, "boxes"),
    "unet": ("fedshelf.common.models.networks.unet:build", 8, "masks"),
}
# networks of torchvision for whole scenes: name -> the result (`torchvision_scenes`)
TORCHVISION_SCENES: dict[str, Output] = {
    "deeplabv3_mobilenet_v3_large": "masks",
    "lraspp_mobilenet_v3_large": "masks",
    "fcn_resnet50": "masks",
    "ssdlite320_mobilenet_v3_large": "boxes",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "boxes",
    "fasterrcnn_mobilenet_v3_large_fpn": "boxes",
    "fasterrcnn_resnet50_fpn": "boxes",
    "fasterrcnn_resnet50_fpn_v2": "boxes",
}
DETECTORS = ("ssdlite320_mobilenet_v3_large",)  # whose boxes are told by anchors
# whose loss is of proposals that they draw at random (`networks.faster_rcnn`)
TWO_STAGE_DETECTORS = tuple(name for name in TORCHVISION_SCENES if name.startswith("fasterrcnn_"))
SCENE_SIZE = 160  # pixels: the side of the input of our networks for scenes of no common size

# networks of others, written anew here, as their published weights need no other library: name ->
# builder, smallest image, and side (pixels), mean and deviation of the images they were trained on
PRETRAINED: dict[str, tuple[str, int, int, float, float]] = {
    "efficientnet-lite0": (
        "fedshelf.common.models.networks.efficientnet_lite0:build",
        32,
        224,
        0.5,
        0.5,
    ),
    "efficientnet-lite0-depths": (
        "fedshelf.common.models.networks.efficientnet_lite0_depths:build",
        32,
        288,
        0.5,
        0.5,
    ),
}

# values of model.weights that mean published ones; torchvision is the older word
PUBLISHED = ("imagenet", "torchvision")


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
    info = find(config.name)
    size = image_size or native_size or info.default_size
    if not info.accepts(size):
        if image_size:
            raise ConfigError(
                f"Model {config.name} takes images of {info.describe_sizes()}, but"
                f" data.image_size is {image_size}; set another size, or 0 to let the model choose."
            )
        size = info.default_size
    return ModelSpec(
        name=info.architecture or config.name,
        classes=classes,
        image_size=size,
        channels=channels,
        mean=_per_channel(info.mean, channels),
        std=_per_channel(info.std, channels),
        norm=config.norm,
        dropout=config.dropout,
        freeze=config.freeze,
    )


def build(spec: ModelSpec, *, weights: "LoadedWeights | None" = None, seed: int = 0) -> "nn.Module":
    """Return the network on the CPU.

    It maps float32 [N, channels, image_size, image_size], normalised, to logits [N, classes].

    The global random generator is left as it was.

    Args:
        spec: the network's specification
        weights: the initial weights (see `weights.load_fitting`); None: drawn from `seed`
        seed: the run's seed

    Raises:
        ConfigError: the norm does not go with the network.
        DataError: the weights do not fit.
    """
    import torch

    info = find(spec.name)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "init"))
        module = info.build(len(spec.classes), spec.image_size, spec.channels)
        _adapt(module, spec)
    if weights is not None:
        _load_weights(module, spec, weights)
    return module


def initial_weights(config: ModelConfig) -> "LoadedWeights | None":
    """Return the weights that a run begins with; None: drawn at random.

    A network of the hub begins with its repository's, unless others are named.

    Raises:
        ConfigError: a kind of file that is never opened, or a network without published weights.
        DataError: they cannot be had, cannot be read, or are no model; or their release is not as
            it was signed.
    """
    from_hub = config.weights if config.weights.startswith(HUB) else config.name
    if from_hub.startswith(HUB) and config.weights in ("none", *PUBLISHED, from_hub):
        from fedshelf.common.models import hub_zoo

        return hub_zoo.read(from_hub)
    if config.weights == "none":
        return None
    if config.weights in PUBLISHED:
        from fedshelf.common.models import published_weights

        return published_weights.find(config.name)
    from fedshelf.common.models.weights import check_file_name, read_weights

    path = Path(config.weights)
    if is_release(path):
        path /= WEIGHTS_FILE
    check_file_name(str(path))
    return read_weights(path)


def find(name: str) -> ModelInfo:
    """Return the registry's facts about a network.

    Raises:
        ConfigError: there is no such network, or it is one of a package that is not installed.
    """
    plugin = plugins.find_plugin(plugins.MODEL, name, [*OURS, *SCENES, *PRETRAINED])
    if name in OURS:
        address, min_size = OURS[name]
        return ModelInfo(
            build=partial(_build_ours, address), default_size=PHOTO_SIZE, min_size=min_size
        )
    if name in SCENES:
        address, step, output = SCENES[name]
        build = partial(_build_ours, address)
        return ModelInfo(build, SCENE_SIZE, step, output=output, size_step=step)
    if name in PRETRAINED:
        address, min_size, size, mean, std = PRETRAINED[name]
        build = partial(_build_for_colour, address)
        return ModelInfo(build, size, min_size, mean=(mean,) * 3, std=(std,) * 3)
    if name.startswith((TIMM, HUB)):
        return _of_zoo(name)
    if own_objects.is_name(name) and plugin is not None:
        from fedshelf.common.models import own_network

        plugin = own_network.describe_network(name, plugin)
    from fedshelf.common.models import torchvision_scenes, torchvision_zoo

    known = [*torchvision_zoo.names(), *TORCHVISION_SCENES]
    if name in known:
        plugins.find_plugin(plugins.MODEL, name, known)
        is_for_scenes = name in TORCHVISION_SCENES
        return torchvision_scenes.find(name) if is_for_scenes else torchvision_zoo.find(name)
    if isinstance(plugin, ModelInfo):
        return plugin
    if plugin is not None:
        raise plugins.wrong_plugin(plugins.MODEL, name, "a ModelInfo")
    if own_objects.is_name(name):
        raise ConfigError(
            f"The model {name} is code of its own, and the file of a model never decides which code"
            f" is imported: to train, name it in the settings (model.name={name}); to use what was"
            " trained, take the ONNX file in a release of the run (flower-server release), or"
            " fedshelf.load(..., network=...) in Python."
        )
    added = plugins.plugin_names(plugins.MODEL)
    suggestions = difflib.get_close_matches(
        name, [*OURS, *SCENES, *PRETRAINED, *added, *known], n=3, cutoff=0.5
    )
    hint = (
        f"did you mean {' or '.join(suggestions)}?"
        if suggestions
        else f"Fedshelf's are {', '.join(OURS)}."
    )
    raise ConfigError(
        f"Unknown model {name!r}: expected one of Fedshelf's, a torchvision classification"
        f" model or one for scenes, timm:NAME, or hf:OWNER/NAME of the Hugging Face hub; {hint}"
    )


def _of_zoo(name: str) -> ModelInfo:
    """Return the facts about a network of timm, or of a repository on the Hugging Face hub."""
    from fedshelf.common.models import hub_zoo, timm_zoo

    if name.startswith(TIMM):
        return timm_zoo.find(name.removeprefix(TIMM))
    if (info := hub_zoo.find_timm(name)) is not None:
        return info
    spec = hub_zoo.released_spec(name)
    return replace(
        find(spec.name),
        architecture=spec.name,
        default_size=spec.image_size,
        mean=spec.mean * (3 // spec.channels),
        std=spec.std * (3 // spec.channels),
    )


def output_of(name: str) -> Output:
    """Return what the network of a name tells of an image (see `ModelInfo.output`).

    Raises:
        ConfigError: the network is unknown.
    """
    return find(name).output


def _build_ours(address: str, classes: int, image_size: int, channels: int) -> "nn.Module":
    """Import the file of a network, and torch with it, only when the network is built."""
    module, _, function = address.partition(":")
    built: nn.Module = getattr(import_module(module), function)(classes, image_size, channels)
    return built


def _build_for_colour(address: str, classes: int, image_size: int, channels: int) -> "nn.Module":
    """Build a network whose published weights are for colour images."""
    module = _build_ours(address, classes, image_size, channels=3)
    return accept_grey(module) if channels == 1 else module


def _per_channel(rgb: tuple[float, ...], channels: int) -> tuple[float, ...]:
    return rgb if channels == 3 else (sum(rgb) / 3,)


def _adapt(module: "nn.Module", spec: ModelSpec) -> None:
    """Apply norms, dropout and freezing to `module`, in place."""
    from fedshelf.common.models.dropout import replace_dropout
    from fedshelf.common.models.head import add_dropout_before_head, freeze
    from fedshelf.common.models.norms import fix_statistics, replace_norms

    if spec.norm == "frozen":
        fix_statistics(module)
    elif spec.norm != "default" and not replace_norms(module, spec.norm):
        raise ConfigError(
            f"Model {spec.name} has no batch or group norm to turn into model.norm={spec.norm};"
            " leave it at default."
        )
    replace_dropout(module)
    if spec.dropout:
        add_dropout_before_head(module, spec.dropout)
    freeze(module, spec.freeze)


def _load_weights(module: "nn.Module", spec: ModelSpec, weights: "LoadedWeights") -> None:
    from fedshelf.common.models.weights import load_fitting, without_head

    known = weights.spec
    same_classes = known is None or known.classes == spec.classes
    tensors = weights.tensors if same_classes else without_head(module, weights.tensors)
    note = f" (a {known.name} for {known.image_size} px)" if known else ""
    load_fitting(module, tensors, weights.source + note)
