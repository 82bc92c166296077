"""Numbers that a reader can check by hand, and what holds for every registered strategy."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES, VectorSequence
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.algorithms.krum import squared_distances
from tests.helpers.toy import TRAINED, told


def updates(*rows: tuple[int, list[float]]) -> list[Update]:
    return [
        Update(f"s{i}", 1, torch.tensor(values), images, 0.0, 0.0)
        for i, (images, values) in enumerate(rows)
    ]


def step(
    name: str,
    params: list[float],
    cohort: list[Update],
    trainable: int | None = None,
    **settings: float,
) -> list[float]:
    strategy = strategies.build(StrategyConfig(name=name, **settings))
    start = torch.tensor(params)
    size = len(params) if trainable is None else trainable
    cohort = told(strategy, start, cohort, size)
    return strategy.update_global_model(
        start, cohort, strategy.init_server_state(start, size), size
    )[0].tolist()


def test_fedavg_weighs_by_images() -> None:
    # (1 * 1 + 3 * 5) / 4 = 4
    assert step("fedavg", [0.0], updates((1, [1.0]), (3, [5.0]))) == [4.0]


def test_fedavg_uniform_ignores_images() -> None:
    assert step("fedavg", [0.0], updates((1, [1.0]), (3, [5.0])), weighting="uniform") == [3.0]


def test_fedprox_gradient_is_that_of_its_objective() -> None:
    # F(w) + mu/2 |w - w0|^2 with mu = 0.5, w0 = (1, 2), at w = (3, 1): g + 0.5 * (2, -1)
    strategy = strategies.build(StrategyConfig(name="fedprox", mu=0.5))
    local = strategy.on_train_begin(torch.tensor([1.0, 2.0]), {}, {})
    gradient = torch.tensor([10.0, 20.0])
    strategy.correct_gradient(gradient, torch.tensor([3.0, 1.0]), local)
    assert gradient.tolist() == [11.0, 19.5]


def test_fedprox_gradient_equals_autograd() -> None:
    weights = torch.randn(5, requires_grad=True)
    anchor = torch.randn(5)
    loss = weights.pow(3).sum() + 0.3 / 2 * (weights - anchor).square().sum()
    (expected,) = torch.autograd.grad(loss, weights)
    gradient = 3 * weights.detach().square()
    strategy = strategies.build(StrategyConfig(name="fedprox", mu=0.3))
    strategy.correct_gradient(gradient, weights.detach(), strategy.on_train_begin(anchor, {}, {}))
    torch.testing.assert_close(gradient, expected)


def test_fedavgm_remembers_its_velocity() -> None:
    strategy = strategies.build(StrategyConfig(name="fedavgm", server_momentum=0.5))
    params = torch.tensor([10.0])
    state = strategy.init_server_state(torch.tensor([10.0]), 1)
    params, state = strategy.update_global_model(
        params, updates((1, [8.0])), state, 1
    )  # v = 2, w = 8
    # v = 0.5 * 2 + 1 = 2, w = 6
    params, state = strategy.update_global_model(params, updates((1, [7.0])), state, 1)
    assert params.tolist() == [6.0]
    assert state["velocity"].tolist() == [2.0]


def test_median_takes_the_middle_or_the_mean_of_two() -> None:
    assert step("median", [0.0], updates((1, [1.0]), (99, [50.0]), (1, [3.0]))) == [3.0]
    assert step("median", [0.0], updates((1, [1.0]), (1, [50.0]), (1, [3.0]), (1, [5.0]))) == [4.0]


def test_trimmed_mean_cuts_both_ends() -> None:
    # a fifth of five values is one at each end: (2 + 3 + 4) / 3
    cohort = updates((1, [1.0]), (1, [2.0]), (1, [3.0]), (1, [4.0]), (1, [1e9]))
    assert step("trimmed-mean", [0.0], cohort) == [3.0]


def test_krum_takes_an_update_from_the_crowd() -> None:
    # neighbours: 5 - 1 - 2 = 2. Scores: 1.0: 0.01+0.04, 1.1: 0.01+0.01, 1.2: 0.01+0.04, 5: .., 100:
    # ..
    cohort = updates((1, [1.0]), (1, [1.1]), (1, [1.2]), (1, [5.0]), (1, [100.0]))
    assert step("krum", [0.0], cohort, malicious=1) == pytest.approx([1.1])


def test_multi_krum_leaves_the_malicious_out() -> None:
    cohort = updates((1, [1.0]), (1, [2.0]), (1, [3.0]), (1, [2.0]), (1, [1e6]))
    assert step("multi-krum", [0.0], cohort, malicious=1) == pytest.approx([2.0])


@pytest.mark.parametrize("name", ["krum", "multi-krum", "median", "trimmed-mean"])
def test_one_store_is_enough(name: str) -> None:
    assert step(name, [0.0], updates((5, [3.0]))) == [3.0]


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_server_optimizers_leave_buffers_to_the_mean(name: str) -> None:
    # the second element is a buffer (a running variance, say): an adaptive step could make it
    # negative
    assert step(name, [1.0, 4.0], updates((1, [2.0, 6.0]), (1, [2.0, 8.0])), trainable=1)[1] == 7.0


@pytest.mark.parametrize("name", TRAINED)
class TestEveryStrategy:
    def test_standing_still_is_a_fixed_point(self, name: str) -> None:
        params = [0.5, -1.0, 2.0]
        assert step(name, params, updates((3, params), (4, params), (5, params))) == pytest.approx(
            params
        )

    def test_result_is_finite_and_inputs_stay(self, name: str) -> None:
        cohort = updates((3, [1.0, 2.0]), (4, [3.0, -2.0]), (5, [0.0, 0.5]))
        before = [u.params.clone() for u in cohort]
        assert all(abs(value) < 1e3 for value in step(name, [0.0, 0.0], cohort))
        assert all(torch.equal(u.params, old) for u, old in zip(cohort, before, strict=True))

    def test_state_is_named_tensors_and_keeps_its_shape(self, name: str) -> None:
        strategy = strategies.build(StrategyConfig(name=name))
        start = torch.zeros(2)
        state = strategy.init_server_state(start, 2)
        cohort = told(strategy, start, updates((1, [1.0, 2.0]), (1, [0.0, 1.0])), 2)
        _, after = strategy.update_global_model(start, cohort, state, 2)
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in after.items()}

    def test_uses_only_settings_that_exist(self, name: str) -> None:
        used = strategies.STRATEGIES[name].settings_used()
        assert used <= set(StrategyConfig.model_fields) - {"name"}


@given(
    weights=draw.lists(draw.integers(1, 1000), min_size=1, max_size=8),
    offset=draw.floats(-5, 5, width=32),
)
def test_fedavg_lies_within_its_updates(weights: list[int], offset: float) -> None:
    cohort = updates(*((w, [offset + i, offset - i]) for i, w in enumerate(weights)))
    first, second = step("fedavg", [0.0, 0.0], cohort)
    assert offset - 1e-4 <= first <= offset + len(weights) - 1 + 1e-4
    assert offset - len(weights) + 1 - 1e-4 <= second <= offset + 1e-4


def test_unknown_strategy_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"fedprx.*Did you mean fedprox"):
        strategies.build(StrategyConfig(name="fedprx"))


def test_a_setting_that_would_be_ignored_is_an_error() -> None:
    with pytest.raises(
        ConfigError, match=r"strategy\.mu got 0\.5, but fedavg does not use it; it is for fedprox"
    ):
        strategies.build(StrategyConfig(name="fedavg", mu=0.5))


def test_squared_distances_by_hand() -> None:
    found = squared_distances(
        VectorSequence([torch.tensor(v) for v in ([0.0, 0.0], [3.0, 4.0], [3.0, 4.0], [0.0, 1.0])])
    )
    assert found.tolist() == [[0, 25, 25, 1], [25, 0, 0, 18], [25, 0, 0, 18], [1, 18, 18, 0]]


def test_small_distances_between_large_vectors_are_not_lost() -> None:
    far = torch.full((3 * BLOCK_COORDINATES,), 1000.0)
    near = far.clone()
    near[-1] += 2**-6
    assert squared_distances(VectorSequence([far, near]))[0, 1].item() == 2**-12


@pytest.mark.parametrize("name", TRAINED)
def test_the_next_model_is_in_memory_of_its_own(name: str) -> None:
    """Engines use the memory of updates again in the next round."""
    strategy = strategies.build(StrategyConfig(name=name))
    start = torch.tensor([1.0, 2.0])
    cohort = told(
        strategy,
        start,
        updates((1, [1.0, 2.0]), (1, [1.5, 2.5]), (1, [1.0, 2.0]), (1, [1.0, 3.0])),
        2,
    )
    params, memory = strategy.update_global_model(
        start, cohort, strategy.init_server_state(start, 2), 2
    )
    before = params.tolist(), {key: tensor.tolist() for key, tensor in memory.items()}
    for update in cohort:
        update.params.fill_(-7)
    assert (params.tolist(), {key: tensor.tolist() for key, tensor in memory.items()}) == before
