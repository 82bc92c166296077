"""A network in plain values: what the registry knows of it, and its specification for a run."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter

from fedshelf.common.config.model_train_strategy import Freeze
from fedshelf.common.names import MAX_CLASS_CHARACTERS, MAX_CLASSES, is_class_name

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMM = "timm:"
"""The prefix of the names of timm's architectures."""

TURNS = ("0 degrees", "90 degrees", "180 degrees", "270 degrees")
"""The classes of a network that tells a photo's quarter turns (`common.tasks.turns`)."""

Output = Literal["classes", "boxes", "masks"]
"""The kind of a network's result: one class of an image, boxes on it, or a class of each pixel."""

STORE_CHANNELS = 3  # photos of real stores are decoded to colour, grey ones too


@dataclass(frozen=True)
class ModelInfo:
    """The builder of a network, and the images it is made for.

    Attributes:
        build: (number of classes, image side in pixels, channels) -> module
        default_size: pixels, the side to use if the data has none of its own
        min_size: pixels, the smallest side it accepts
        fixed_size: True if `default_size` is the only side it accepts
        mean: of red, green and blue intensities scaled to 0..1
        std: their standard deviations
        output: classes (logits [N, classes]), boxes (of a locator or a detector), or masks (logits
            [N, classes, image_size, image_size])
        size_step: pixels, the side must be a multiple of this
        architecture: name under which others build it, who do not know this one; empty: the same
    """

    build: "Callable[[int, int, int], nn.Module]"
    default_size: int
    min_size: int
    fixed_size: bool = False
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)
    output: Output = "classes"
    size_step: int = 1
    architecture: str = ""

    def accepts(self, size: int) -> bool:
        """Return whether the network works on square images with this side in pixels."""
        if self.fixed_size:
            return size == self.default_size
        return size >= self.min_size and size % self.size_step == 0

    def describe_sizes(self) -> str:
        """Return the accepted sizes in words."""
        if self.fixed_size:
            return f"exactly {self.default_size} px"
        multiples = f", a multiple of {self.size_step}" if self.size_step > 1 else ""
        return f"{self.min_size} px or more{multiples}"


def accept_grey(module: "nn.Module") -> "nn.Module":
    """Return a network for colour images that takes grey ones, [N, 1, H, W]; changed in place."""
    module.register_forward_pre_hook(colour_inputs)
    return module


def colour_inputs(_: "nn.Module", inputs: "tuple[Tensor, ...]") -> "tuple[Tensor, ...]":
    """Give a network for [N, 3, H, W] the grey images [N, 1, H, W] (see `accept_grey`).

    Targets that follow them stay.
    """
    return (grey_to_rgb(inputs[0]), *inputs[1:])


def grey_to_rgb(images: "Tensor") -> "Tensor":
    """Repeat the grey channel three times: [N, 1, H, W] -> [N, 3, H, W]."""
    return images.expand(-1, 3, -1, -1)


@dataclass(frozen=True)
class ModelSpec:
    """A network's description: enough to build it anywhere and to feed it images.

    `model.json` and every order carry it.

    Attributes:
        name: the network's name in the registry
        classes: ordered names of the outputs
        image_size: pixels, side of the square input
        channels: 1 (grey) or 3 (RGB)
        mean: per channel, of intensities scaled to 0..1; an input is (x / 255 - mean) / std
        std: standard deviation per channel
        norm: "default" (the model's own layers), "batch", "group", or "frozen" (batch norm whose
            statistics stay as the weights brought them)
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
    norm: Literal["default", "batch", "group", "frozen"] = "default"
    dropout: float = 0.0
    freeze: Freeze = "none"

    @property
    def tells_turns(self) -> bool:
        """True if the network predicts turns of photos (see `tasks.turns`), and not classes."""
        return self.classes == TURNS

    def to_json(self) -> str:
        """Return JSON with sorted keys; `from_json` reads it back unchanged."""
        return json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "ModelSpec":
        """Return the specification in a text of `to_json`.

        Raises:
            ValueError: any other text (pydantic's error).
        """
        return TypeAdapter(cls).validate_json(text)


def received_spec(text: str) -> ModelSpec:
    """Return a specification from another machine's JSON, after checks.

    Raises:
        ValueError: a field is missing, unknown, of another type or out of range (also pydantic's).
        RecursionError: the JSON is nested too deeply.
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
