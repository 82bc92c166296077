"""A store's log shares added to the scores when it is judged: by hand, and beside the raw scores in
one pass.
"""

from math import log

import numpy as np
import pytest
import torch
from torch.nn import functional

from fedshelf.common.config import resolve
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.metrics.energy import energy_histogram
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.strategies.shared.class_skew import logit_adjustment, max_loss_change
from fedshelf.common.training.evaluate import evaluate, evaluate_adjusted
from fedshelf.common.training.fit import Network

SPEC = ModelSpec("niid-cnn", ("boot", "hat", "shirt"), 32, 3, (0.5,) * 3, (0.25,) * 3)


def images(*labels: int) -> Images:
    noise = np.random.default_rng(len(labels)).integers(
        0, 256, (len(labels), 32, 32, 3), dtype=np.uint8
    )
    return Images.whole(torch.from_numpy(noise), torch.tensor(labels))


def plan_of(absent: str) -> Plan:
    return Plan("run", resolve({"strategy.absent_classes": absent}), SPEC)


@pytest.fixture
def level() -> Network:
    """A network whose scores are 0 for every image, so that all that is left is what is added to
    them.
    """
    network = Network(SPEC, torch.device("cpu"), seed=1)
    for rows in network.layout.head_slices():
        network.vector[rows] = 0
    return network


def test_a_model_that_knows_nothing_answers_by_the_shares(level: Network) -> None:
    train = images(1, 1, 1, 2)
    held_out = images(0, 1, 1, 2)
    added = logit_adjustment(train, plan_of("weigh"))
    assert added is not None
    ((raw, adjusted),) = evaluate_adjusted(level, [held_out], [added], 3, (1.0, 2.0))
    # three equal scores: the first
    assert raw.confusion.tolist() == [[1, 0, 0], [2, 0, 0], [1, 0, 0]]
    assert raw.loss_sum == pytest.approx(4 * log(3))
    assert adjusted is not None
    assert adjusted.confusion.tolist() == [[0, 1, 0], [0, 2, 0], [0, 1, 0]]
    # shares 3% of a third for boots, 3/4 and 1/4
    total = 0.01 + 0.75 + 0.25
    assert adjusted.loss_sum == pytest.approx(
        4 * log(total) - log(0.01) - 2 * log(0.75) - log(0.25), rel=1e-6
    )
    assert raw.reliability is not None
    np.testing.assert_array_equal(
        raw.reliability.energies, energy_histogram(np.full(4, log(3), np.float32))
    )
    assert adjusted.reliability is not None
    np.testing.assert_array_equal(
        adjusted.reliability.energies, energy_histogram(np.full(4, log(total), np.float32))
    )
    assert adjusted.reliability.nll[0] == pytest.approx(adjusted.loss_sum)
    roots = [share**0.5 for share in (0.01, 0.75, 0.25)]  # at a temperature of 2
    assert adjusted.reliability.nll[1] == pytest.approx(
        4 * log(sum(roots)) - log(roots[0]) - 2 * log(roots[1]) - log(roots[2]), rel=1e-6
    )


def test_stores_are_judged_together_as_each_alone_and_the_raw_counts_stay_what_they_were() -> None:
    network = Network(SPEC, torch.device("cpu"), seed=1)
    whole = images(*[0, 1, 2] * 9)
    apart = images(2, 2, 1, 0)
    sets = [
        whole.select(torch.arange(10)),
        apart,
        whole.select(torch.arange(10, 27)),
        whole.select(torch.arange(0)),
    ]
    added = [torch.tensor([0.0, -1.0, -2.0]), torch.tensor([-3.0, 0.0, -1.0]), None, torch.zeros(3)]
    found = evaluate_adjusted(network, sets, added, 4)
    assert [raw.confusion.tolist() for raw, _ in found] == [
        counts.confusion.tolist() for counts in evaluate(network, sets, 4)
    ]
    assert found[2][1] is None
    assert found[3][1] is not None
    assert found[3][1].num_examples == 0
    for place in (0, 1):
        pixels, targets = sets[place].batch(torch.arange(len(sets[place])))
        with torch.no_grad():
            scores = network.logits(normalise(pixels, SPEC.mean, SPEC.std)) + added[place]
        adjusted = found[place][1]
        assert adjusted is not None
        assert adjusted.loss == pytest.approx(
            functional.cross_entropy(scores, targets).item(), rel=1e-5
        )
        right = (scores.argmax(dim=1) == targets).float().mean().item()
        assert adjusted.accuracy == pytest.approx(right)


def test_what_training_did_not_add_is_not_added() -> None:
    some = images(1, 1, 2)
    everything = images(0, 1, 2, 2)
    assert logit_adjustment(some, plan_of("full")) is None
    assert logit_adjustment(everything, plan_of("mask")) is None
    assert logit_adjustment(some.select(torch.arange(0)), plan_of("weigh")) is None
    mask = logit_adjustment(some, plan_of("mask"))
    assert mask is not None
    assert mask.tolist() == pytest.approx([log(0.01), log(1 / 2), log(1 / 2)])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("absent", ["weigh", "mask"])
def test_an_adjustment_changes_no_images_loss_by_more_than_is_said(absent: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.multinomial(
        torch.rand(3, generator=generator) ** 4, 1 + seed, replacement=True, generator=generator
    )
    added = logit_adjustment(images(*labels.tolist()), plan_of(absent))
    if added is None:  # a mask where no class is absent
        return
    scores = 30 * torch.randn(500, 3, generator=generator, dtype=torch.float64)
    targets = torch.arange(500) % 3
    raw, adjusted = (
        functional.cross_entropy(each, targets, reduction="none")
        for each in (scores, scores + added)
    )
    assert float((adjusted - raw).abs().max()) <= max_loss_change(3) + 1e-6
