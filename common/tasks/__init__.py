"""The tasks by name: see `common.tasks.task` on what a task is.

To add one, write a file in this folder and a line in TASKS, and name it at `train.objective`.
"""

from collections.abc import Mapping, Sequence

from fedshelf.common import models
from fedshelf.common.config import RunConfig
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.tasks.anchored_boxes import AnchoredBoxes
from fedshelf.common.tasks.boxes import LocatedBoxes
from fedshelf.common.tasks.classes import Classes
from fedshelf.common.tasks.masks import PixelMasks
from fedshelf.common.tasks.proposed_boxes import ProposedBoxes
from fedshelf.common.tasks.task import SceneTask, Task
from fedshelf.common.tasks.turns import Turns

__all__ = ["TASKS", "SceneTask", "Task", "scene_task_of_classes", "task_in", "task_of"]

TASKS: Mapping[str, Task] = {
    "classes": Classes(),
    "turns": Turns(),
    "boxes": LocatedBoxes(),
    "masks": PixelMasks(),
}

# of torchvision's detectors, by name
_DETECTORS: Mapping[str, Task] = {
    **dict.fromkeys(models.DETECTORS, AnchoredBoxes()),
    **dict.fromkeys(models.TWO_STAGE_DETECTORS, ProposedBoxes()),
}


def task_in(config: RunConfig) -> Task:
    """Return the task of a run, as its network needs it."""
    if config.train.objective == "boxes" and config.model.name in _DETECTORS:
        return _DETECTORS[config.model.name]
    return TASKS[config.train.objective]


def task_of(spec: ModelSpec) -> Task:
    """Return the task of a model: its network decides, and of a classifier its classes."""
    if spec.name in _DETECTORS:
        return _DETECTORS[spec.name]
    output = models.output_of(spec.name)
    if output != "classes":
        return TASKS[output]
    return TASKS["turns" if spec.tells_turns else "classes"]


def scene_task_of_classes(classes: Sequence[str]) -> SceneTask | None:
    """Return the task on scenes whose outputs have these names; None: they are product classes."""
    for task in TASKS.values():
        if isinstance(task, SceneTask) and task.classes == tuple(classes):
            return task
    return None
