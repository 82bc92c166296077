"""A plan for boots and hats in few pixels."""

import torch

from fedshelf.common.config import resolve
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan

CONFIG = resolve({"data.image_size": 16, "model.name": "niid-cnn", "train.batch_size": 8})
SPEC = ModelSpec("niid-cnn", ("boot", "hat"), 16, 3, (0.5,) * 3, (0.25,) * 3)
PLAN = Plan("run", CONFIG, SPEC)
CPU = torch.device("cpu")
