"""Orders that deliver a small file which says that it is a model."""

import hashlib
import json
from typing import Any

import torch
from safetensors.torch import save

from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.model_delivery import DeliverOrder

SPEC = ModelSpec("niid-cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)


def order_of(
    run: str = "shops", run_id: str = "a" * 32, value: float = 1.0, **changes: Any
) -> DeliverOrder:
    """A small file that says it is a model, and its description; `changes` are of the
    description.
    """
    content = save({"head": torch.full((3,), value)}, metadata={"spec": SPEC.to_json()})
    sha256 = hashlib.sha256(content).hexdigest()
    told = json.loads(SPEC.to_json()) | {
        "sha256": sha256,
        "provenance": {"run_id": run_id, "round": 1, "personal": []},
    }
    description = json.dumps(told | changes).encode()
    return DeliverOrder(run_id, run, "niid-cnn", description, sha256, len(content), content)
