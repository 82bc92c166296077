"""Initial weights from a file: our own `model.safetensors`, or a torchvision state dict saved as safetensors."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from common.errors import DataError
from common.models.head import head_name

# What published weights hold beyond the network we build: auxiliary classifiers of Inception, and
# the statistics of batch norms that group norms replaced.
_SPARE_PREFIXES = ("AuxLogits.", "aux1.", "aux2.")
_SPARE_SUFFIXES = (".running_mean", ".running_var", ".num_batches_tracked")


def read(path: Path) -> dict[str, Tensor]:
    """Name -> tensor of a safetensors file. Raises DataError if it is missing or no such file."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"Cannot read model.weights={path} ({error}); expected a .safetensors file.") from error


def load_fitting(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copy into `module`, in place, every floating-point tensor whose name and shape fit.

    The head may differ and then stays as it is. Raises DataError, with counts, unless the rest of
    the network gets all its tensors and `tensors` has no others.
    """
    state = module.state_dict()
    head = head_name(module) + "."
    own = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    fitting = {name for name, tensor in own.items() if name in tensors and tensors[name].shape == tensor.shape}
    backbone = {name for name in own if not name.startswith(head)}
    spare = (*_SPARE_PREFIXES, head)
    unknown = [n for n in tensors if n not in state and not n.startswith(spare) and not n.endswith(_SPARE_SUFFIXES)]
    if not backbone <= fitting or unknown:
        raise DataError(
            f"The weights from {source} fit {len(backbone & fitting)} of the {len(backbone)} tensors of the model's"
            f" backbone and hold {len(unknown)} that it lacks; use weights of the same model and image size."
        )
    with torch.no_grad():
        for name in fitting:
            own[name].copy_(tensors[name])
