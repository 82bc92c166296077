"""A store's part of a strategy in closed form."""

from pathlib import Path

import torch
from torch.nn import functional

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import strategies
from fedshelf.common.training.closed_form import head_inputs
from fedshelf.common.training.evaluate import evaluate
from tests.helpers.frozen_backbone import closed_form
from tests.helpers.simulated_stores import CPU, order, photos, settings, start


def test_an_update_has_the_sums_of_the_networks_own_features(tmp_path: Path) -> None:
    """The weights stay, and the loss is the one that an evaluation of them finds."""
    config = settings(**closed_form(), evaluation__batch_size=4)
    begun = start(config)
    images = photos(10, 16)
    trainer = Trainer(CPU, StateStore(tmp_path))
    found = trainer.train(order(begun), "a", images)
    network = trainer.network(begun.plan)
    assert torch.equal(found.params, begun.params)
    assert (found.num_examples, found.steps) == (10, 0)
    assert abs(found.loss - evaluate(network, [images], 4)[0].loss) < 1e-5
    (inputs,) = head_inputs(network, images, 3)
    views = begun.layout.split_views(begun.params)
    head = begun.layout.head
    scores = functional.linear(inputs, views[f"{head}.weight"], views[f"{head}.bias"])
    pixels = images.inputs.float().div(255)
    mean, std = (torch.tensor(each) for each in (begun.plan.spec.mean, begun.plan.spec.std))
    expected = network.logits(((pixels - mean) / std).permute(0, 3, 1, 2))
    torch.testing.assert_close(scores, expected.detach(), rtol=1e-4, atol=1e-5)
    strategy = strategies.build(begun.plan.config.strategy, begun.layout)
    for name, tensor in strategy.summarise(inputs, images.targets()).items():
        torch.testing.assert_close(found.extras[name], tensor)
