"""Stores that lack classes: what they train, and who has a say in which row of the head."""

from dataclasses import replace
from math import log

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch.nn import functional

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig, TrainConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment import Blend
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.class_skew import (
    centred,
    images_by_class,
    keep_absent_rows,
    logit_offsets,
    row_shares,
)
from fedshelf.common.tasks.classes import image_losses, objective, soft_targets
from fedshelf.common.training.fit import LocalTrainingTask, Network, fit
from fedshelf.server.updates.buffer import DiskBuffer
from tests.helpers.toy import TRAINED

# one number, then a head of two classes with one feature: [w, row a, row b, bias a, bias b]
HEAD = Layout(
    ("w", "head.weight", "head.bias"),
    (torch.Size([1]), torch.Size([2, 1]), torch.Size([2])),
    5,
    5,
    "head",
)


def trained(name: str, values: list[float], by_class: list[float]) -> Update:
    images = torch.tensor(by_class, dtype=torch.float64)
    return Update(
        name, 1, torch.tensor(values), int(images.sum()), 0.0, 0.0, images_by_class=images
    )


def test_what_is_added_to_scores_counts_in_every_loss() -> None:
    # exp(0), exp(log 3) and exp(5 + log 4 - 5): the softmax is 1, 3 and 4 of 8
    logits = torch.tensor([[0.0, log(3), 5.0]])
    target = torch.tensor([0])
    added = torch.tensor([0.0, 0.0, log(4) - 5])
    assert objective(logits, target, TrainConfig(), offsets=added).item() == pytest.approx(log(8))
    squared = objective(logits, target, TrainConfig(loss="squared"), offsets=added).item()
    assert squared == pytest.approx((49 + 9 + 16) / 64 / 3)
    mixed = objective(
        logits, target, TrainConfig(), Blend(torch.tensor([1]), torch.tensor([0.75])), added
    ).item()
    assert mixed == pytest.approx(0.75 * log(8) + 0.25 * log(8 / 3))


# exp(added) is 1, 1 and 2 of 4, which smoothing goes towards; added to the logits it makes 1, 3 and
# 4 of 8
LOGITS = torch.tensor([[0.0, log(3), log(2)]])
ADDED = torch.tensor([0.0, 0.0, log(2)])
SMOOTH = TrainConfig(label_smoothing=0.4)
SQUARED = TrainConfig(label_smoothing=0.4, loss="squared")


def test_smoothing_spreads_a_target_as_the_classes_count() -> None:
    assert soft_targets(torch.tensor([0, 2]), 0.4, ADDED).tolist() == [
        pytest.approx([0.7, 0.1, 0.2]),
        pytest.approx([0.1, 0.1, 0.8]),
    ]
    found = objective(LOGITS, torch.tensor([0]), SMOOTH, offsets=ADDED).item()
    assert found == pytest.approx(0.7 * log(8) + 0.1 * log(8 / 3) + 0.2 * log(2))
    squared = objective(LOGITS, torch.tensor([0]), SQUARED, offsets=ADDED).item()
    assert squared == pytest.approx(
        ((1 / 8 - 0.7) ** 2 + (3 / 8 - 0.1) ** 2 + (1 / 2 - 0.2) ** 2) / 3
    )
    # a quarter of class 0, the rest of class 1
    half = Blend(torch.tensor([1]), torch.tensor([0.25]))
    mixed = objective(LOGITS, torch.tensor([0]), SMOOTH, half, ADDED).item()
    assert mixed == pytest.approx(0.25 * log(8) + 0.55 * log(8 / 3) + 0.2 * log(2))


def test_offsets_of_each_image_are_those_of_its_store() -> None:
    """As the batched engine has them: the second image's store has all classes alike."""
    logits = LOGITS.repeat(2, 1)
    targets = torch.tensor([0, 0])
    for config in (SMOOTH, SQUARED):
        losses = image_losses(logits, targets, config, offsets=torch.stack([ADDED, torch.zeros(3)]))
        assert losses[0].item() == pytest.approx(
            objective(LOGITS, targets[:1], config, offsets=ADDED).item()
        )
        assert losses[1].item() == pytest.approx(objective(LOGITS, targets[:1], config).item())


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_pulls_nothing_up_that_a_store_lacks(smoothing: float) -> None:
    """d objective / d logits is softmax - target: at even logits, (1 - smoothing) (shares -
    onehot).
    """
    config = TrainConfig(label_smoothing=smoothing)
    target = torch.tensor([0])
    even = torch.zeros(1, 4, requires_grad=True)
    added = logit_offsets(of_labels(0, 3, 0, 1), 4, "weigh")
    assert added is not None
    (gradient,) = torch.autograd.grad(objective(even, target, config, offsets=added), even)
    shares = added.softmax(dim=0)
    onehot = torch.tensor([1.0, 0.0, 0.0, 0.0])
    torch.testing.assert_close(gradient[0], (1 - smoothing) * (shares - onehot))
    assert gradient[0, 2] > 0  # descent lowers the class that the store lacks


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_without_smoothing_or_without_offsets_nothing_changes_by_a_bit(loss: str) -> None:
    logits = torch.randn(9, 3, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(9) % 3
    plain, smooth = (TrainConfig(loss=loss, label_smoothing=share) for share in (0.0, 0.4))  # type: ignore[arg-type]
    hot = functional.one_hot(targets, 3).float()
    moved = logits + ADDED
    expected = {
        "cross-entropy": (
            functional.cross_entropy(moved, targets),
            functional.cross_entropy(logits, targets, label_smoothing=0.4),
        ),
        "squared": (
            functional.mse_loss(moved.softmax(dim=1), hot),
            functional.mse_loss(logits.softmax(dim=1), hot * (1 - 0.4) + 0.4 / 3),
        ),
    }[loss]
    assert torch.equal(objective(logits, targets, plain, offsets=ADDED), expected[0])
    assert torch.equal(objective(logits, targets, smooth), expected[1])


def of_labels(*labels: int) -> Images:
    noise = torch.randint(
        0, 256, (len(labels), 16, 16, 3), generator=torch.Generator().manual_seed(2)
    )
    return Images.whole(noise.to(torch.uint8), torch.tensor(labels))


def test_what_a_store_adds_to_its_scores() -> None:
    some = of_labels(0, 3, 0, 1)
    everything = of_labels(0, 1, 2, 3)
    assert logit_offsets(some, 4, "full") is None
    assert logit_offsets(everything, 4, "mask") is None
    # 3% of the quarter that an even share is
    assert logit_offsets(some, 4, "mask").tolist() == pytest.approx(
        [log(1 / 3), log(1 / 3), log(0.03 / 4), log(1 / 3)]
    )
    assert logit_offsets(some, 4, "weigh").tolist() == pytest.approx(
        [log(1 / 2), log(1 / 4), log(0.03 / 4), log(1 / 4)]
    )
    nearly_none = [log(199 / 200), *[log(0.03 / 4)] * 3]  # one of 200 is less than that
    assert logit_offsets(of_labels(*[0] * 199, 1), 4, "weigh").tolist() == pytest.approx(
        nearly_none
    )
    assert logit_offsets(everything, 4, "weigh").tolist() == pytest.approx([log(1 / 4)] * 4)


def test_weighing_scores_by_shares_takes_a_stores_mix_out_of_what_it_learns() -> None:
    # exp(0) * 3/4 against exp(log 3) * 1/4: even
    logits = torch.tensor([[0.0, log(3), 5.0]])
    shares = torch.tensor([log(3 / 4), log(1 / 4), -1e9])
    for target in (0, 1):
        assert objective(
            logits, torch.tensor([target]), TrainConfig(), offsets=shares
        ).item() == pytest.approx(log(2))


def test_absent_classes_are_heard_of_but_little() -> None:
    logits = torch.zeros(1, 4, requires_grad=True)
    added = logit_offsets(of_labels(0, 3, 0, 1), 4, "mask")
    (gradient,) = torch.autograd.grad(
        objective(logits, torch.tensor([0]), TrainConfig(), offsets=added), logits
    )
    # a third thrice, and 3/400: the softmax is 400, 400, 9 and 400 of 1209
    assert gradient[0].tolist() == pytest.approx([400 / 1209 - 1, 400 / 1209, 9 / 1209, 400 / 1209])


@pytest.mark.parametrize("mode", ["mask", "weigh"])
def test_rows_of_absent_classes_move_less(mode: str) -> None:
    network = Network(
        ModelSpec("niid-cnn", ("a", "b", "c", "d"), 16, 3, (0.5,) * 3, (0.25,) * 3),
        torch.device("cpu"),
    )
    start = network.vector.clone()
    moved = {}
    for told in ("full", mode):
        config = resolve(
            {"strategy.absent_classes": told, "train.epochs": 2, "train.batch_size": 2}
        )
        task = LocalTrainingTask(
            config, strategies.build(config.strategy, network.layout), "oslo", 1, start
        )
        end = fit(network, of_labels(0, 1, 3, 0, 1), task).params
        moved[told] = [
            float((end[span] - start[span]).view(4, -1)[2].norm())
            for span in network.layout.head_slices()
        ]
    assert all(
        0 < little < 0.2 * much for little, much in zip(moved[mode], moved["full"], strict=True)
    )


def test_a_row_is_averaged_over_the_stores_that_have_its_class() -> None:
    # w: (10 * 1 + 40 * 6) / 50 = 5;   a: (10 * 1 + 30 * 5) / 40 = 4;   b: of the second store alone
    cohort = [
        trained("s0", [1.0, 1.0, 9.0, 2.0, 9.0], [10, 0]),
        trained("s1", [6.0, 5.0, 7.0, 6.0, 3.0], [30, 10]),
    ]
    strategy = strategies.build(StrategyConfig(absent_classes="mask"), HEAD)
    assert strategy.aggregate_updates(cohort).tolist() == [5.0, 4.0, 7.0, 5.0, 3.0]
    alike = strategies.build(StrategyConfig(absent_classes="mask", weighting="uniform"), HEAD)
    assert alike.aggregate_updates(cohort).tolist() == [3.5, 3.0, 7.0, 4.0, 3.0]


def test_a_row_that_nobody_has_stays() -> None:
    start = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    strategy = strategies.build(StrategyConfig(name="fedavgm", absent_classes="mask"), HEAD)
    cohort = [
        trained("s0", [1.0, 1.5, 9.0, 2.0, 9.0], [10, 0]),
        trained("s1", [1.0, 1.5, 8.0, 2.0, 7.0], [30, 0]),
    ]
    after, _ = strategy.update_global_model(start, cohort, strategy.init_server_state(start, 5), 5)
    kept = keep_absent_rows(start, after, [update.images_by_class for update in cohort], HEAD)
    assert kept.tolist() == [1.0, 1.5, 2.0, 2.0, 4.0]
    assert start.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]


@given(
    sizes=draw.lists(draw.integers(1, 50), min_size=1, max_size=6),
    mix=draw.tuples(draw.integers(1, 9), draw.integers(1, 9)),
    uniform=draw.booleans(),
)
def test_where_all_have_all_classes_in_the_same_proportion_it_is_the_plain_mean(
    sizes, mix, uniform
) -> None:
    values = torch.randn(len(sizes), 5, generator=torch.Generator().manual_seed(len(sizes)))
    cohort = [
        trained(f"s{place}", row, [mix[0] * size, mix[1] * size])
        for place, (row, size) in enumerate(zip(values.tolist(), sizes, strict=True))
    ]
    config = StrategyConfig(absent_classes="mask", weighting="uniform" if uniform else "images")
    plain = strategies.build(config).aggregate_updates(cohort)  # without a layout, no row is known
    torch.testing.assert_close(strategies.build(config, HEAD).aggregate_updates(cohort), plain)


def test_without_the_numbers_of_all_stores_rows_are_as_all_else() -> None:
    assert row_shares([torch.ones(2), None], HEAD, uniform=False) is None
    start = torch.zeros(5)
    after = torch.ones(5)
    assert keep_absent_rows(start, after, [None], HEAD) is after


@pytest.mark.parametrize(
    ("info", "num_examples", "expected"),
    [
        (StoreInfo("s", {"a": 30, "b": 10}, 0, 0), 40, [30, 10, 0]),
        # rows weigh no more than the update
        (StoreInfo("s", {"a": 30, "b": 10}, 0, 0), 20, [15, 5, 0]),
        # names, and no numbers
        (StoreInfo("s", {"a": 0, "b": 0}, 0, 0, undisclosed_images=40), 40, [20, 20, 0]),
        (StoreInfo("s", {}, 0, 0, undisclosed_images=30), 30, [10, 10, 10]),  # nothing
        (StoreInfo("s", {"a": 30}, 0, 0, undisclosed_images=10), 40, [30, 5, 5]),
        (StoreInfo("s", {"a": 5, "b": 5, "c": 5}, 0, 0, undisclosed_images=1), 15, [5, 5, 5]),
        (StoreInfo("s", {"elsewhere": 5}, 0, 0), 5, [0, 0, 0]),
    ],
)
def test_how_many_images_of_each_class_an_update_stands_for(info, num_examples, expected) -> None:
    assert images_by_class(info, ("a", "b", "c"), num_examples).tolist() == expected


def test_names_are_compared_as_everywhere() -> None:
    assert images_by_class(StoreInfo("s", {"Ka\u0308se": 3}, 0, 0), ("K\u00e4se",), 3).tolist() == [
        3
    ]


def test_an_update_that_waits_on_disk_keeps_its_numbers(tmp_path) -> None:
    spool = DiskBuffer(tmp_path / "updates")
    spool.put(trained("s0", [1.0, 1.0, 9.0, 2.0, 9.0], [10, 0]))
    spool.put(trained("s1", [6.0, 5.0, 7.0, 6.0, 3.0], [30, 10]))
    strategy = strategies.build(StrategyConfig(absent_classes="mask"), HEAD)
    assert strategy.aggregate_updates(spool.updates()).tolist() == [5.0, 4.0, 7.0, 5.0, 3.0]


@pytest.mark.parametrize("name", ["median", "trimmed-mean", "krum", "multi-krum"])
def test_strategies_that_choose_among_stores_refuse(name: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"strategy\.absent_classes got 'mask', but {name} does not use it"
    ):
        strategies.build(StrategyConfig(name=name, absent_classes="mask"))


def test_a_softmax_without_classes_left_out_is_the_usual_one() -> None:
    logits = torch.randn(5, 4)
    targets = torch.tensor([0, 1, 2, 3, 0])
    everything = torch.zeros(4)
    found = objective(logits, targets, TrainConfig(label_smoothing=0.1), offsets=everything)
    torch.testing.assert_close(
        found, functional.cross_entropy(logits, targets, label_smoothing=0.1)
    )


def test_centring_by_hand() -> None:
    vector = torch.tensor([7.0, 1.0, 4.0, 2.0, -2.0])
    assert centred(vector, HEAD).tolist() == [7.0, -1.5, 1.5, 2.0, -2.0]
    assert vector.tolist() == [7.0, 1.0, 4.0, 2.0, -2.0]
    assert torch.equal(centred(vector, replace(HEAD, ends_in_head=False)), vector)


MEANS = [name for name in TRAINED if "absent_classes" in strategies.STRATEGIES[name].uses]


@pytest.mark.parametrize("name", MEANS)
def test_nothing_is_centred_where_all_rows_are_averaged_as_all_else(name: str) -> None:
    vector = torch.tensor([7.0, 1.0, 4.0, 2.0, -3.0])
    assert (
        strategies.build(StrategyConfig(name=name, absent_classes="full"), HEAD).centred(vector)
        is vector
    )
    found = strategies.build(StrategyConfig(name=name, absent_classes="weigh"), HEAD).centred(
        vector
    )
    assert found.tolist() == [7.0, -1.5, 1.5, 2.5, -2.5]


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi"])
def test_a_servers_momentum_keeps_nothing_that_all_rows_have_in_common(name: str) -> None:
    """Each store raises the row of its class by 1: without centring, momentum would carry both
    on.
    """
    start = torch.zeros(5)
    strategy = strategies.build(StrategyConfig(name=name, absent_classes="mask"), HEAD)
    cohort = [
        trained("s0", [0.0, 1.0, 0.0, 1.0, 0.0], [10, 0]),
        trained("s1", [0.0, 0.0, 1.0, 0.0, 1.0], [0, 10]),
    ]
    after, memory = strategy.update_global_model(
        start, cohort, strategy.init_server_state(start, 5), 5
    )
    assert after[1:].abs().max() > 0.05
    assert strategy.centred(after)[1:].tolist() == pytest.approx([0, 0, 0, 0])
    assert memory["velocity" if name == "fedavgm" else "first"].tolist() == pytest.approx(
        [0, 0, 0, 0, 0]
    )


def test_scaffold_corrects_the_head_whether_shares_count_or_not() -> None:
    """c - c_i in every coordinate, as without assortments."""
    server = {"control": torch.full((5,), 2.0)}
    store = {"control": torch.arange(5.0)}
    for mode in ("full", "mask", "weigh"):
        half = strategies.build(StrategyConfig(name="scaffold", absent_classes=mode), HEAD)
        assert half.on_train_begin(torch.zeros(5), server, store)["shift"].tolist() == [
            2,
            1,
            0,
            -1,
            -2,
        ]
