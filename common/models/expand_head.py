"""Growth of a finished model: its head gets a row for each new class, and keeps its old rows.

The old classes may have new places among all classes.
"""

import torch
from torch import Tensor, nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.models.head import head_name
from fedshelf.common.models.saved import SavedModel
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import load_fitting, without_head

MASKED_SCORE = -1e9  # a score that gets exactly 0 in any softmax


def check_expandable(saved: SavedModel, spec: ModelSpec) -> None:
    """Check that a network can take over all classes and settings of a finished model.

    Raises:
        ConfigError: a class is missing, or a setting differs.
    """
    if lost := [name for name in saved.spec.classes if name not in spec.classes]:
        raise ConfigError(
            f"The model {saved.path} knows the class {lost[0]!r}, which is not among this run's"
            f" classes ({', '.join(spec.classes)}): name all of its classes in --classes, and the"
            " new ones beside them."
        )
    for field, what in (
        ("name", "network"),
        ("norm", "norm"),
        ("image_size", "image size"),
        ("channels", "channels"),
    ):
        old = getattr(saved.spec, field)
        new = getattr(spec, field)
        if old != new:
            raise ConfigError(
                f"The model {saved.path} has the {what} {old}, but this run has {new}; leave it"
                " out, and it is the model's."
            )


def expand_head(module: nn.Module, saved: SavedModel, classes: tuple[str, ...]) -> None:
    """Copy a finished model into a network with more classes, in place.

    Rows of classes that the finished model does not know stay as they are.

    Args:
        module: a network whose head has a row for each of `classes`
        saved: the finished model
        classes: names of all classes, in the order of the head's rows

    Raises:
        DataError: the backbones differ.
    """
    load_fitting(module, without_head(module, saved.tensors), str(saved.path))
    rows = [classes.index(name) for name in saved.spec.classes]
    with torch.no_grad():
        for name, parameter in module.get_submodule(head_name(module)).named_parameters():
            parameter[rows] = saved.tensors[f"{head_name(module)}.{name}"]


def mask_new_classes(bias: Tensor, saved: SavedModel, classes: tuple[str, ...]) -> Tensor:
    """Return the bias with which a grown network chooses among the old classes only.

    Args:
        bias: float32 [C], the bias of the grown head
        saved: the finished model that knows the old classes
        classes: names of all C classes
    """
    is_old = torch.tensor([name in saved.spec.classes for name in classes], device=bias.device)
    return bias.masked_fill(~is_old, MASKED_SCORE)
