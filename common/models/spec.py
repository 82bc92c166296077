"""A network's specification in plain values: enough to build it anywhere and to feed it images."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from pydantic import TypeAdapter

from fedshelf.common.config.model_train_strategy import Freeze
from fedshelf.common.names import MAX_CLASS_CHARACTERS, MAX_CLASSES, is_class_name

TURNS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")
"""The classes of a network that tells by how many quarter turns a photo was turned, as in
`common.training.rotation_task`."""

STORE_CHANNELS = 3  # photos of real stores are decoded to colour, grey ones too


@dataclass(frozen=True)
class ModelSpec:
    """A network's description; `model.json` and every order carry it.

    classes: ordered names of the outputs
    image_size: pixels, side of the square input
    channels: 1 (grey) or 3 (RGB)
    mean, std:  per channel, of intensities scaled to 0..1; an input is (x / 255 - mean) / std
    norm: "default" (the model's own layers), "batch" or "group"
    dropout: probability before the last layer
    freeze: the part that neither trains nor travels: "none", "backbone" (all but the head), or
        "last:K" (all but the head and the last K blocks; see `common.models.head.blocks`)
    """

    name: str
    classes: tuple[str, ...]
    image_size: int
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    norm: Literal["default", "batch", "group"] = "default"
    dropout: float = 0.0
    freeze: Freeze = "none"

    @property
    def tells_turns(self) -> bool:
        """True if the network predicts turns, which it learns from photos without a class, and not
        classes.
        """
        return self.classes == TURNS

    def to_json(self) -> str:
        """Return JSON with sorted keys; `from_json` reads it back unchanged."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Return the specification in a text of `to_json`.

        Raises ValueError (pydantic's) for any other text.
        """
        return TypeAdapter(cls).validate_json(text)


def received_spec(text: str) -> ModelSpec:
    """Return a specification from another machine's JSON, after checks of its fields, types and
    consistency.

    Raises ValueError (pydantic's, too) or RecursionError.
    """
    values = json.loads(text)
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(ModelSpec)}:
        raise ValueError("a model's specification has other fields")
    spec = TypeAdapter(ModelSpec).validate_python(values)
    if not spec.classes or len(set(spec.classes)) != len(spec.classes):
        raise ValueError("classes must be named, each once")
    if len(spec.classes) > MAX_CLASSES or not all(map(is_class_name, spec.classes)):
        raise ValueError(
            f"expected at most {MAX_CLASSES} classes, each in at most {MAX_CLASS_CHARACTERS} plain"
            " characters"
        )
    if (
        spec.channels not in (1, 3)
        or not len(spec.mean) == len(spec.std) == spec.channels
        or not min(spec.std) > 0
    ):
        raise ValueError("mean and std need one value per channel, std above 0")
    if not (1 <= spec.image_size <= 1024 and 0 <= spec.dropout < 1):
        raise ValueError("image_size must be 1 to 1024 pixels, dropout from 0 to below 1")
    return spec
