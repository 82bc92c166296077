"""A small network with weights in a file, whose backbone can be frozen."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

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
