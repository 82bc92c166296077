"""Orders that deliver a small file which says that it is a model."""

import hashlib
import json
from typing import Any

import torch

from fedshelf.common.models.model_file import encode_model
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.model_delivery import DeliverOrder

SPEC = ModelSpec("niid-cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)


def order_of(
    run: str = "shops", run_id: str = "a" * 32, value: float = 1.0, **changes: Any
) -> DeliverOrder:
    """A small file that says it is a model, and its description; `changes` are of the
    description.
    """
    told = json.loads(SPEC.to_json()) | {
        "provenance": {"run_id": run_id, "round": 1, "personal": []}
    }
    content = encode_model(SPEC, {"head": torch.full((3,), value)}, told | changes)
    sha256 = hashlib.sha256(content).hexdigest()
    description = json.dumps(told | {"sha256": sha256} | changes).encode()
    return DeliverOrder(run_id, run, "niid-cnn", description, sha256, len(content), content)
