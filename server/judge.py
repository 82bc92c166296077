"""The server's own test set."""

import torch
from torch import Tensor

from common.evaluation import evaluate
from common.images.types import Images
from common.metrics import Counts
from common.orders import Plan
from common.training import Network


class ServerTest:
    """Evaluates parameters on images that the server holds, with a resident network."""

    def __init__(self, plan: Plan, images: Images, device: torch.device) -> None:
        self._network = Network(plan.spec, device)
        if plan.frozen is not None:
            self._network.load_frozen(plan.frozen)
        self._images, self._batch_size = images.to(device), plan.config.evaluation.batch_size

    def __call__(self, params: Tensor) -> Counts:
        """Counts of the model `params` (float32 [P])."""
        self._network.load(params)
        (counts,) = evaluate(self._network, [self._images], self._batch_size)
        return counts
