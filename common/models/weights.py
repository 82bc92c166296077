"""Initial weights from a safetensors file: our own, or a state dict of torchvision."""

import hashlib
import re
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models.head import class_layers
from fedshelf.common.models.spec import ModelSpec, received_spec
from fedshelf.common.release.verify import verify_release_of
from fedshelf.common.text import sanitize

# Tensors of published weights that the network we build does not have: auxiliary classifiers of
# Inception and of segmenters, and the statistics of batch norms that group norms replaced.
_SPARE_PREFIXES = ("AuxLogits.", "aux1.", "aux2.", "aux_classifier.")
_SPARE_SUFFIXES = (".running_mean", ".running_var", ".num_batches_tracked")

# Published DenseNet weights say "norm.1" where the network says "norm1"; those of Faster R-CNN are
# older than the sequences in which its convolutions are now.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d)\."), r"\1\2."),
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^(rpn\.head\.conv)\.(weight|bias)$"), r"\1.0.0.\2"),
)

_PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
_CONVERT = (
    'python -c "import sys, torch, safetensors.torch as s; s.save_file({k: v.contiguous().clone()'
    " for k, v in torch.load(sys.argv[1], 'cpu', weights_only=True).items()}, sys.argv[2])\""
)


@dataclass(frozen=True)
class LoadedWeights:
    """The content of a file with weights.

    Attributes:
        tensors: tensors by their names in the state dict
        source: the place that they come from, in words
        sha256: of the file, in hexadecimal
        spec: the network that they belong to, if the file names it, as ours do
    """

    tensors: Mapping[str, Tensor]
    source: str
    sha256: str
    spec: ModelSpec | None = None


def check_file_name(weights: str) -> None:
    """Raise ConfigError unless it names a .safetensors file: a pickle is code, and never read."""
    if weights.endswith(".safetensors"):
        return
    if weights.endswith(_PICKLES):
        path = Path(weights)
        files = f"{shlex.quote(weights)} {shlex.quote(str(path.with_suffix('.safetensors')))}"
        raise ConfigError(
            f"Setting model.weights got {weights}, a pickle, which runs code when it is read and is"
            " never opened here. Convert it once, then use"
            f" {path.with_suffix('.safetensors').name}: {_CONVERT} {files}"
        )
    raise ConfigError(
        f"Setting model.weights got {weights!r}; expected none, imagenet or a .safetensors file."
    )


def read_weights(path: Path) -> LoadedWeights:
    """Return the tensors of a safetensors file.

    Raises:
        DataError: the file is missing or no safetensors file, a tensor is not finite, or the file
            is one of a release that is not as it was signed.
        ConfigError: the keys of releases cannot be read.
    """
    verify_release_of(path)
    try:
        with safe_open(path, "pt") as file:
            tensors = {modern_name(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(
            f"Cannot read model.weights={path} ({error}); expected a .safetensors file."
        ) from error
    check_finite(tensors, f"model.weights={path}")
    spec = None
    with suppress(ValueError, KeyError, RecursionError):
        spec = received_spec(metadata["spec"])
    return LoadedWeights(tensors, str(path), file_sha256(path), spec)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"Cannot read the weights in {path} ({error}).") from error


def check_finite(tensors: Mapping[str, Tensor], source: str) -> None:
    """Check that all numbers are finite: no training could go on from others.

    Args:
        tensors: tensors by name, of any shape ([...])
        source: the words by which the error names their source

    Raises:
        DataError: a number is not finite.
    """
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise DataError(
                f"The weights from {source} are not finite (NaN or infinity in"
                f" {sanitize(name, 100)!r}): their training diverged, or the file is damaged; use"
                " another file."
            )


def modern_name(key: str) -> str:
    """Return the present name of a tensor of published weights."""
    for old, new in _OLD_NAMES:
        key = old.sub(new, key)
    return key


def without_head(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, unchanged in shape, that are not those of the head of `module`.

    They are not those of any layer with a row for each class.
    """
    heads = _head_prefixes(module)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(heads)}


def _head_prefixes(module: nn.Module) -> tuple[str, ...]:
    return tuple(f"{name}." for name in class_layers(module))


def load_fitting(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy into a network, in place, every floating-point tensor whose name and shape fit.

    The head may differ or be missing, and then stays as it is.

    Args:
        module: the network
        tensors: by their names in the state dict; one counts if it has the network's shape [...]
        source: the words by which an error names their source

    Raises:
        DataError: a tensor of the backbone is missing, or there are others that it lacks.
    """
    state = module.state_dict()
    heads = _head_prefixes(module)
    model_tensors = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    fitting = {
        name
        for name, tensor in model_tensors.items()
        if name in tensors and tensors[name].shape == tensor.shape
    }
    backbone = {name for name in model_tensors if not name.startswith(heads)}
    allowed_prefixes = (*_SPARE_PREFIXES, *heads)
    unknown = [
        name
        for name in tensors
        if name not in state
        and not name.startswith(allowed_prefixes)
        and not name.endswith(_SPARE_SUFFIXES)
    ]
    if not backbone <= fitting or unknown:
        raise DataError(
            f"The weights from {source} fit {len(backbone & fitting)} of the {len(backbone)}"
            f" tensors of the model's backbone and hold {len(unknown)} that it lacks; use weights"
            " of the same model and image size."
        )
    with torch.no_grad():
        for name in fitting:
            model_tensors[name].copy_(tensors[name])
