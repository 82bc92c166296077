"""A release in the layout of a model repository on the Hugging Face hub.

    README.md            the model card, with the hub's metadata in front
    config.json          architecture, classes, normalisation: timm reads that of its architectures
    model.safetensors, model.json, model.onnx
    release/             the signed files as they are, which a download of the folder can verify

The metadata are those of https://huggingface.co/docs/hub/model-cards.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedshelf.common import models, own_objects
from fedshelf.common.errors import DataError
from fedshelf.common.models.saved import read
from fedshelf.common.models.spec import TIMM, ModelSpec, Output
from fedshelf.common.names import (
    CARD_FILE,
    DESCRIPTION_FILE,
    ENVELOPE_FILE,
    ONNX_FILE,
    WEIGHTS_FILE,
)
from fedshelf.common.release.verify import is_release

_PIPELINES: Mapping[Output, str] = {
    "classes": "image-classification",
    "boxes": "object-detection",
    "masks": "image-segmentation",
}  # https://huggingface.co/tasks

RELEASE_FOLDER = "release"
CONFIG_FILE = "config.json"
README_FILE = "README.md"


def hub_files(release: Path) -> dict[str, bytes]:
    """Return the files of a repository for a release, by their paths in it.

    Args:
        release: folder of a release

    Raises:
        DataError: it is none, or not as it was signed.
        ConfigError: the keys of releases cannot be read.
        OSError: a file cannot be read.
    """
    if not is_release(release):
        raise DataError(
            f"{release} is no release: it has no {ENVELOPE_FILE}; make one with flower-server"
            " release."
        )
    spec = read(release / WEIGHTS_FILE).spec
    described = json.loads((release / DESCRIPTION_FILE).read_text(encoding="utf-8"))
    signed = {path.name: path.read_bytes() for path in sorted(release.iterdir()) if path.is_file()}
    usable = {
        name: signed[name] for name in (WEIGHTS_FILE, DESCRIPTION_FILE, ONNX_FILE) if name in signed
    }
    card = signed[CARD_FILE].decode()
    return {
        README_FILE: f"---\n{_metadata(spec, described)}---\n\n{card}".encode(),
        CONFIG_FILE: _json(_config(spec)),
        **usable,
        **{f"{RELEASE_FOLDER}/{name}": content for name, content in signed.items()},
    }


def _config(spec: ModelSpec) -> dict[str, Any]:
    """Return the content of `config.json`, in the form of timm's repositories."""
    rgb = 3 // spec.channels
    return {
        "architecture": spec.name.removeprefix(TIMM),
        "num_classes": len(spec.classes),
        "label_names": list(spec.classes),
        "pretrained_cfg": {
            "input_size": [3, spec.image_size, spec.image_size],
            "mean": list(spec.mean * rgb),
            "std": list(spec.std * rgb),
            "num_classes": len(spec.classes),
        },
    }


def _metadata(spec: ModelSpec, described: Mapping[str, Any]) -> str:
    """Return the metadata in front of the card: YAML, whose values are written as JSON."""
    made = described.get("provenance") or {}
    test = made.get("test") or {}
    tags = ["federated-learning", "fedshelf", *(["timm"] if spec.name.startswith(TIMM) else [])]
    pipeline = _pipeline(spec.name)
    metrics = [
        {"type": kind, "value": test[key]}
        for kind, key in (("accuracy", "accuracy"), ("f1", "macro_f1"))
        if pipeline == _PIPELINES["classes"] and test.get(key) is not None
    ]
    result = {
        "task": {"type": pipeline},
        "dataset": {"name": "held-out photos", "type": "private"},
        "metrics": metrics,
    }
    facts: dict[str, Any] = {"library_name": "fedshelf", "tags": tags}
    if pipeline:
        facts["pipeline_tag"] = pipeline
    if metrics:
        facts["model-index"] = [{"name": spec.name, "results": [result]}]
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in facts.items())


def _pipeline(network: str) -> str:
    """Return the hub's name for what a network does.

    It is empty for a person's own network, which may do anything: a release imports no code.
    """
    if own_objects.is_name(network) and not network.startswith(TIMM):
        return ""
    return _PIPELINES[models.output_of(network)]


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=2).encode() + b"\n"
