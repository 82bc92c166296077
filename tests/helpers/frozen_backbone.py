"""A small network with weights in a file, whose backbone can be frozen, and its head solved for."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

from fedshelf.common.config import TrainConfig
from tests.helpers.simulated_stores import settings, start

_FOLDER = TemporaryDirectory(prefix="fedshelf-weights-")


@cache
def frozen_backbone(model: str = "cnn", image_size: int = 16) -> dict[str, object]:
    """Settings of a run that trains the head alone, of a model with the weights of seed 11."""
    file = Path(_FOLDER.name) / f"{model}-{image_size}.safetensors"
    begun = start(settings(model__name=model, data__image_size=image_size, run__seed=11))
    named = begun.layout.split_views(begun.params)
    save_file({name: view.contiguous() for name, view in named.items()}, file)
    return {"model__name": model, "model__freeze": "backbone", "model__weights": str(file)}


def closed_form(strategy: str = "ridge") -> dict[str, object]:
    """Settings of a run that solves for the head; those of training are at their defaults."""
    training = {key: TrainConfig.model_fields[key].default for key in ("batch_size", "lr")}
    return {
        **frozen_backbone(), "strategy__name": strategy, "run__rounds": 1, "data__crop": 0,
        "train__epochs": 1, **{f"train__{key}": value for key, value in training.items()},
    }  # fmt: skip
