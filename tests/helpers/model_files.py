"""The description in a model's file."""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open


def description_in(file: Path) -> dict[str, Any]:
    """The description in the metadata of a `model.safetensors`."""
    with safe_open(file, framework="pt") as opened:
        told: dict[str, Any] = json.loads(opened.metadata()["description"])
        return told


def description_beside(file: Path) -> dict[str, Any]:
    """The content of the `model.json` beside a `model.safetensors`, but for the latter's hash."""
    told: dict[str, Any] = json.loads(file.with_name("model.json").read_text(encoding="utf-8"))
    del told["sha256"]
    return told
