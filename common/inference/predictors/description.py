"""The description of a finished model: all that is needed beside its weights to use it rightly."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.models.spec import ModelSpec, received_spec
from fedshelf.common.names import DESCRIPTION_FILE, DESCRIPTION_KEY, WEIGHTS_FILE

DENOISE_SIDES = (0, 3, 5)


@dataclass(frozen=True)
class ModelDescription:
    """A finished model, but for its weights.

    Attributes:
        spec: architecture, classes, image size, normalisation
        class_names: the classes' names for people, in the order of the classes
        denoise: pixels, side of the median filter over a photo; 0: none
        temperature: scores are divided by it before the softmax, so that probabilities are
            calibrated; 1 leaves them as they are
        energy_threshold: log sum exp of the scores below which a photo is like nothing that the
            model knows; None: it was not measured
        provenance: the run that made it, its results and versions, as in `model.json`
        sha256: of the model's file, which cannot hold it itself; None: it was not read from one
    """

    spec: ModelSpec
    class_names: tuple[str, ...]
    denoise: int = 0
    temperature: float = 1.0
    energy_threshold: float | None = None
    provenance: Mapping[str, Any] | None = None
    sha256: str | None = field(default=None, compare=False)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, as training knew them."""
        return self.spec.classes

    @property
    def pixel_format(self) -> PixelFormat:
        """The form to which training decoded photos."""
        return PixelFormat(self.spec.image_size, self.spec.channels, self.denoise)

    def to_json(self) -> str:
        """Return one text that `parse` reads back unchanged, in the form of `model.json`."""
        values = json.loads(self.spec.to_json()) | {
            "class_names": list(self.class_names),
            "denoise": self.denoise,
            "temperature": self.temperature,
            "energy_threshold": self.energy_threshold,
            "provenance": self.provenance,
        }
        return json.dumps(values, sort_keys=True, ensure_ascii=False)

    @classmethod
    def parse(cls, values: Any, source: Path) -> "ModelDescription":
        """Return the description in the parsed JSON of a `model.json` or of a model's metadata.

        Args:
            values: the parsed JSON
            source: the file that it comes from, for errors

        Raises:
            DataError: a value is missing or impossible.
        """
        try:
            names = [field.name for field in fields(ModelSpec)]
            spec = received_spec(json.dumps({name: values[name] for name in names}))
            description = cls(
                spec=spec,
                class_names=tuple(values.get("class_names") or spec.classes),
                denoise=values.get("denoise", 0),
                temperature=float(values.get("temperature", 1.0)),
                energy_threshold=_number(values.get("energy_threshold")),
                provenance=values.get("provenance"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{source} does not describe a model of Fedshelf ({type(error).__name__}); it is"
                " damaged or was written by another version."
            ) from error
        if (fault := description.fault()) is not None:
            raise DataError(f"{source} cannot be used: {fault}.")
        return description

    def fault(self) -> str | None:
        """Return why the values contradict each other, in words; None: they do not."""
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            return f"its temperature is {self.temperature}, expected a number above 0"
        if self.denoise not in DENOISE_SIDES:
            return f"its denoise is {self.denoise!r}, expected one of {DENOISE_SIDES}"
        if len(self.class_names) != len(self.classes) or not all(
            isinstance(name, str) for name in self.class_names
        ):
            return f"it has {len(self.class_names)} names for {len(self.classes)} classes"
        return None

    def check_usable(self, source: Path) -> None:
        """Refuse a model that does not tell products.

        Args:
            source: the file of the model, for errors

        Raises:
            DataError: parts of it stay at the stores, or it was trained to tell turns.
        """
        if self.spec.tells_turns:
            raise DataError(
                f"The model in {source} was trained to tell by how much a photo is turned, and"
                " knows no products; train on with --resume-from and the default objective first."
            )
        personal = (self.provenance or {}).get("personal")
        exported = (self.provenance or {}).get("store")
        if personal and not exported:
            raise DataError(
                f"The model in {source} lacks the parts that each store keeps to itself"
                f" ({len(personal)} tensors, the first is {personal[0]}); at a store, make a whole"
                " one: flower-client export."
            )


def read_description(file: Path, metadata: Mapping[str, str], sha256: str) -> ModelDescription:
    """Return the description of a model, from its own metadata or the `model.json` beside it.

    Args:
        file: the model's file
        metadata: the texts in it
        sha256: the SHA-256 of its bytes

    Raises:
        DataError: there is no description, it cannot be used, or the `model.json` beside the file
            is that of another model.
    """
    beside = _read_beside(file.with_name(DESCRIPTION_FILE))
    if beside is not None and beside.get("sha256", sha256) != sha256:
        raise DataError(
            f"{file} is not the model that the {DESCRIPTION_FILE} beside it describes (its SHA-256"
            " is another); copy both from one run."
        )
    if DESCRIPTION_KEY in metadata:
        found = ModelDescription.parse(_parsed(metadata[DESCRIPTION_KEY], file), file)
        return replace(found, sha256=sha256)
    if beside is not None:
        found = ModelDescription.parse(beside, file.with_name(DESCRIPTION_FILE))
        return replace(found, sha256=sha256)
    raise DataError(
        f"{file} does not describe its model; expected the {WEIGHTS_FILE} of a run, a release, or"
        " an ONNX file that Fedshelf exported."
    )


def _read_beside(path: Path) -> dict[str, Any] | None:
    """Return the content of a `model.json`; None: there is none. Raises DataError."""
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read {path} ({type(error).__name__}).") from error
    values = _parsed(text, path)
    if not isinstance(values, dict):
        raise DataError(f"{path} does not describe a model; copy it from its run once more.")
    return values


def _parsed(text: str, source: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"The description of the model in {source} is damaged; copy it once more."
        ) from error


def _number(value: Any) -> float | None:
    number = None if value is None else float(value)
    if number is not None and not math.isfinite(number):
        raise ValueError(value)
    return number
