"""A finished run whose models are filled with the numbers of their rounds."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from fedshelf.server.results import plan_file
from fedshelf.server.results.checkpoints import Best, Checkpoints, TrainingState
from fedshelf.server.results.plan_file import SavedPlan
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.training.setup import InitialState, agree_on_classes, prepare
from tests.helpers.by_hand import plan_of

TEST = {"accuracy": 0.5, "macro_f1": 0.4, "loss": 1.5, "images": 10}


def start_of(**settings: object) -> InitialState:
    config = plan_of(
        model__name="niid-cnn", data__image_size=32, data__classes=["boot", "hat"], **settings
    ).config
    return prepare(config, agree_on_classes(config, {}).classes, 3).identified("run")


def run_of(
    path: Path, start: InitialState, best: Best | None = None, rounds: tuple[int, ...] = (2, 4, 5)
) -> Path:
    """A run whose model is filled with the number of its round; round 4 was judged on the server's
    test images.
    """
    with_judgement = {4: TEST}
    RunDirectory.open(path, start.plan.config).close()
    plan_file.write(path / "checkpoints", SavedPlan(start.plan, None))
    checkpoints = Checkpoints(path / "checkpoints", keep=9)
    for number in rounds:
        record = {"round": number, "test": with_judgement.get(number)}
        params = torch.full_like(start.params, float(number))
        checkpoints.save(TrainingState(number, params, {}, best=best, record=record))
    return path


def filling(folder: Path) -> set[float]:
    """The values in a model's file."""
    return {
        value
        for tensor in load_file(folder / "model.safetensors").values()
        for value in tensor.unique().tolist()
    }
