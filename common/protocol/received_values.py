"""What a message may say of runs and networks. Who reads a field raises ValueError for what is none."""

import json
import re
from dataclasses import fields

from pydantic import TypeAdapter

from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.text import is_plain

LONGEST_CLASS, MOST_CLASSES = 200, 10_000  # characters of a class's name, and classes
MOST_NAMES = 2**18  # bytes of the names of all classes that one store tells of
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SPEC = TypeAdapter(ModelSpec)


def run_id(text: str) -> str:
    """The identity of a run, which becomes the name of a folder at stores."""
    if not _RUN_ID.fullmatch(text):
        raise ValueError(f"got {text[:80]!r}, expected 1 to 64 letters, digits, - or _")
    return text


def is_class(name: object) -> bool:
    """Whether this may be the name of a class: it is shown to people, and travels to all stores."""
    return isinstance(name, str) and bool(name) and is_plain(name, LONGEST_CLASS)


def spec(text: str) -> ModelSpec:
    """A specification from JSON: it has all fields, of their types, and consistent. Raises RecursionError, too."""
    values = json.loads(text)
    if not isinstance(values, dict) or set(values) != {field.name for field in fields(ModelSpec)}:
        raise ValueError("a model's specification has other fields")
    spec = _SPEC.validate_python(values)
    if not spec.classes or len(set(spec.classes)) != len(spec.classes):
        raise ValueError("classes must be named, each once")
    if len(spec.classes) > MOST_CLASSES or not all(map(is_class, spec.classes)):
        raise ValueError(f"expected at most {MOST_CLASSES} classes, each in at most {LONGEST_CLASS} plain characters")
    if spec.channels not in (1, 3) or not len(spec.mean) == len(spec.std) == spec.channels or not min(spec.std) > 0:
        raise ValueError("mean and std need one value per channel, std above 0")
    if not (1 <= spec.image_size <= 1024 and 0 <= spec.dropout < 1):
        raise ValueError("image_size must be 1 to 1024 pixels, dropout from 0 to below 1")
    return spec
