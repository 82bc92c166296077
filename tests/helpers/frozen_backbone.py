"""A small network with weights in a file, whose backbone can be frozen."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from safetensors.torch import save_file

from tests.helpers.simulated_stores import settings, start

_FOLDER = TemporaryDirectory(prefix="fedshelf-weights-")


@cache
def frozen_backbone() -> dict[str, object]:
    """Settings of a run that trains the head alone, of a `cnn` with the weights of seed 11."""
    file = Path(_FOLDER.name) / "cnn.safetensors"
    begun = start(settings(model__name="cnn", run__seed=11))
    named = begun.layout.split_views(begun.params)
    save_file({name: view.contiguous() for name, view in named.items()}, file)
    return {"model__name": "cnn", "model__freeze": "backbone", "model__weights": str(file)}
