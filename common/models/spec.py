"""What a network is, in plain values: enough to build it anywhere and to feed it images."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter

from fedshelf.common.config.model_train_strategy import Freeze

TURNS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")
"""The classes of a network that tells by how many quarter turns a photo was turned; see
`common.training.rotation_task`."""

STORE_CHANNELS = 3  # photos of real stores are decoded to colour, grey ones too


@dataclass(frozen=True)
class ModelSpec:
    """A network's description; `model.json` and every order carry it.

    classes:    ordered names of the outputs
    image_size: pixels, side of the square input
    channels:   1 (grey) or 3 (RGB)
    mean, std:  per channel, of intensities scaled to 0..1; an input is (x / 255 - mean) / std
    norm:       "default" (the model's own layers), "batch" or "group"
    dropout:    probability before the last layer
    freeze:     what neither trains nor travels: "none", "backbone" (all but the head), or "last:K" (all but the head
                and the last K blocks; see `common.models.head.blocks`)
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
        """Whether it is made to learn from photos without a class, not to tell classes."""
        return self.classes == TURNS

    def to_json(self) -> str:
        """JSON with sorted keys; `from_json` reads it back unchanged."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Inverse of `to_json`. Raises ValueError (pydantic's) for what is no specification."""
        return TypeAdapter(cls).validate_json(text)
