"""SCAFFOLD: numbers that can be checked by hand, the paper's algorithm written down plainly, and
what it is for.
"""

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, StrategyConfig, TrainConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared.local_training import normalized_steps
from fedshelf.common.training.fit import LocalTrainingTask, Network, fit
from tests.helpers.simulated_stores import CPU, photos, settings, start
from tests.helpers.toy import SGD_WITHOUT_MOMENTUM, Toy

TARGETS = {
    "a": torch.tensor([4.0, 0.0]),
    "b": torch.tensor([-2.0, 1.0]),
    "c": torch.tensor([1.0, 5.0]),
}
STEPS = {"a": 2, "b": 7, "c": 30}


def scaffold(**settings: object) -> strategies.Strategy:
    return strategies.build(StrategyConfig(name="scaffold", **settings))


def toy(
    train: TrainConfig = SGD_WITHOUT_MOMENTUM,
    images: tuple[int, ...] = (1, 1, 1),
    **settings: object,
) -> Toy:
    return Toy(
        scaffold(**settings),
        TARGETS,
        train,
        steps=STEPS,
        images=dict(zip(TARGETS, images, strict=True)),
    )


def test_the_correction_by_hand() -> None:
    # g - c_i + c = 10 - 3 + 1
    local = scaffold().on_train_begin(
        torch.zeros(1), {"control": torch.tensor([1.0])}, {"control": torch.tensor([3.0])}
    )
    gradient = torch.tensor([10.0])
    scaffold().correct_gradient(gradient, torch.zeros(1), local)
    assert gradient.tolist() == [8.0]


def test_a_round_by_hand() -> None:
    """Two stores of four; x = 2, c = 0.5; a new store went to 1, one with c_i = 3 to 4; two steps
    at a rate of 0.25.
    """
    half = scaffold(weighting="uniform")
    start = torch.tensor([2.0])
    control = {"control": torch.tensor([0.5])}
    updates = []
    states = []
    for store, end, state in (("a", 1.0, {}), ("b", 4.0, {"control": torch.tensor([3.0])})):
        run = strategies.LocalTrainingSummary(
            start, torch.tensor([end]), steps=2, lr=0.25, num_examples=9
        )
        extras, kept = half.on_train_end(run, half.on_train_begin(start, control, state), state)
        updates.append(Update(store, 1, torch.tensor([end]), 9, 0.0, 0.0, extras))
        states.append(kept["control"].item())
    # c_i+ = c_i - c + (x - y) / (K eta):  0 - 0.5 + 1 / 0.5 = 1.5,  3 - 0.5 - 2 / 0.5 = -1.5
    assert states == [1.5, -1.5]
    everyone = {name: StoreInfo(name, {"shoe": 9}, 0, 0) for name in "abcd"}
    params, memory = half.update_global_model(start, updates, control, 1, everyone)
    assert params.tolist() == [2.5]  # the mean of 1 and 4
    assert memory["control"].tolist() == [-0.25]  # 0.5 + ((1.5 - 0) + (-1.5 - 3)) / 4


def test_the_papers_algorithm_written_down() -> None:
    """Algorithm 1, option II, with two of three stores a round; eta_l = 0.1, eta_g = 0.7."""
    ours = toy(weighting="uniform", server_lr=0.7)
    cohorts = [("a", "b"), ("b", "c"), ("a", "c"), ("a", "b")]
    x = torch.zeros(2)
    c = torch.zeros(2)
    kept = {store: torch.zeros(2) for store in TARGETS}
    for cohort in cohorts:
        moves = []
        changes = []
        for store in cohort:
            y = x.clone()
            for _ in range(STEPS[store]):
                y = y - 0.1 * ((y - TARGETS[store]) - kept[store] + c)
            new = kept[store] - c + (x - y) / (STEPS[store] * 0.1)
            moves.append(y - x)
            changes.append(new - kept[store])
            kept[store] = new
        x = x + 0.7 * sum(moves) / 2
        c = c + sum(changes) / 3
        ours.round(cohort)
        torch.testing.assert_close(ours.params, x)
        torch.testing.assert_close(ours.memory["control"], c)
        for store in cohort:
            torch.testing.assert_close(ours.states[store]["control"], kept[store])


@pytest.mark.parametrize("images", [(1, 1, 1), (10, 1, 4)])
def test_the_servers_control_is_the_weighted_mean_of_the_stores(images: tuple[int, ...]) -> None:
    ours = toy(images=images)
    for cohort in (("a", "b"), ("c",), ("a", "c"), ()):
        ours.round(cohort)
        kept = [
            ours.states[store].get("control", torch.zeros(2)) * n
            for store, n in zip(TARGETS, images, strict=True)
        ]
        torch.testing.assert_close(ours.memory["control"], sum(kept) / sum(images))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("images", [(1, 1, 1), (10, 1, 4)])
def test_it_ends_at_the_optimum_of_all_where_fedavg_does_not(
    images: tuple[int, ...], momentum: float
) -> None:
    """The optimum of sum_i n_i |w - target_i|^2 is the weighted mean of the targets, however far
    each store goes.
    """
    train = TrainConfig(momentum=momentum, lr=0.02)
    ours = toy(train, images)
    counts = dict(zip(TARGETS, images, strict=True))
    plain = Toy(strategies.build(StrategyConfig()), TARGETS, train, steps=STEPS, images=counts)
    for _ in range(200):
        ours.round()
        plain.round()
    optimum = sum(n * target for n, target in zip(images, TARGETS.values(), strict=True)) / sum(
        images
    )
    assert (ours.params - optimum).norm() < 0.02
    assert (plain.params - optimum).norm() > 0.3


def test_a_control_is_the_mean_gradient_that_moved_the_store() -> None:
    """With momentum too: each gradient weighs as much as it moved the weights."""
    gradients = torch.tensor([3.0, -1.0, 4.0])
    momentum = 0.5
    weights = 0.0
    velocity = 0.0
    for gradient in gradients.tolist():
        velocity = momentum * velocity + gradient
        weights -= 0.1 * velocity
    # the first gradient moves the weights by 1 + 0.5 + 0.25, the second by 1 + 0.5, the third by 1
    mean = (1.75 * 3 + 1.5 * -1 + 1 * 4) / (1.75 + 1.5 + 1)
    run = strategies.LocalTrainingSummary(
        torch.zeros(1), torch.tensor([weights]), 3, 0.1, 9, momentum
    )
    local = scaffold().on_train_begin(torch.zeros(1), {"control": torch.zeros(1)}, {})
    assert scaffold().on_train_end(run, local, {})[1]["control"].item() == pytest.approx(mean)


@pytest.mark.parametrize(
    ("steps", "momentum"),
    [(1, 0.0), (5, 0.0), (1, 0.9), (4, 0.9), (300, 0.99), (5, 1 - 1e-9), (9, 1 - 2**-53)],
)
def test_reach_is_how_far_gradients_of_one_carry(steps: int, momentum: float) -> None:
    velocity = weights = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1
        weights += 0.1 * velocity
    assert normalized_steps(steps, 0.1, momentum) == pytest.approx(weights)


@pytest.mark.parametrize("name", ["scaffold", "fednova"])
class TestReach:
    def settings(self, name: str, **changed: object) -> RunConfig:
        given = {
            "strategy.name": name,
            "train.batch_size": 10,
            "train.epochs": 2,
            "train.momentum": 0.0,
        }
        return resolve(given | {key.replace("__", "."): value for key, value in changed.items()})

    def test_a_claim_that_cannot_be_is_a_fault(self, name: str) -> None:
        """95 images in batches of 10, twice: 18 to 20 steps, at a rate of 0.5 a reach of 9 to
        10.
        """
        config = self.settings(name)
        half = strategies.build(config.strategy)
        found = {}
        for claim in (9.0, 10.0, 8.4, 10.6, 0.0, -9.0, float("nan"), float("inf")):
            update = Update("a", 1, torch.zeros(1), 95, 0.0, 0.0, {"reach": torch.tensor([claim])})
            found[claim] = half.validate_update(update, 0.5, config)
        assert [claim for claim, fault in found.items() if fault is None] == [9.0, 10.0]
        assert (
            found[8.4]
            == "claims 8.4 normalised steps times the learning rate, where its images allow 9 to 10"
        )

    @pytest.mark.parametrize("optimizer", ["adam", "adamw"])
    def test_other_optimizers_are_refused(self, name: str, optimizer: str) -> None:
        words = f"got '{name}', which counts steps of sgd, and train.optimizer is {optimizer}"
        with pytest.raises(ConfigError, match=words):
            strategies.check(self.settings(name, train__optimizer=optimizer))


def test_a_correction_is_not_clipped_and_decay_comes_on_top() -> None:
    """Gradients clipped to next to nothing, so that c moves the weights alone: by eta K c, and by
    decay with them.
    """
    config = settings(
        model__name="niid-cnn", strategy__name="scaffold", train__momentum=0, train__clip_norm=1e-9,
        train__epochs=1, train__batch_size=8, train__lr=0.01, train__weight_decay=0.5,
    )  # fmt: skip
    begun = start(config)
    network = Network(begun.plan.spec, CPU)
    control = torch.full_like(begun.params, 0.3)
    strategy = strategies.build(config.strategy, begun.layout)
    fitted = fit(
        network,
        photos(24, 16),
        LocalTrainingTask(config, strategy, "oslo", 1, begun.params, {"control": control}),
    )
    expected = begun.params.clone()
    for _ in range(3):
        expected -= 0.01 * (0.3 + 0.5 * expected)
    torch.testing.assert_close(fitted.params, expected, atol=1e-6, rtol=1e-6)
    # the control is what moved the store, decay with it, less the correction
    mean = (begun.params - expected) / 0.03 - 0.3
    torch.testing.assert_close(fitted.state["control"], mean, atol=1e-4, rtol=1e-4)
