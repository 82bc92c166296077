"""Means of the last rounds' models: by hand, judged in place of the last one, and kept when a run
ends.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.metrics.counts import Counts
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.updates.evaluator import Evaluators
from tests.helpers.by_hand import ONE, Notes, Targets, counts_of, plan_of, vector


def played(
    rounds: int, state: TrainingState | None = None, **settings: object
) -> list[TrainingState]:
    """The states after each round from 16 on, half the way to 0 each: 8, 4, 2, 1."""
    judged: list[Tensor] = []

    def judge(params: Tensor) -> Counts:
        judged.append(params)
        return counts_of(1, 1)

    given = {f"strategy__{key}": value for key, value in settings.items()}
    playing = RoundLoop(
        plan_of(run__rounds=rounds, **given),
        ONE,
        Targets({"a": 0.0}),
        Notes(),
        lambda: False,
        Evaluators(judge),
    )
    state = state or playing.initial_state(vector(16.0))
    states = []
    while state.round < rounds:
        state, _ = playing.play(state)
        states.append(state)
    assert [params.tolist() for params in judged] == [state.model.tolist() for state in states]
    return states


def models(states: list[TrainingState]) -> list[float]:
    return [state.model.item() for state in states]


def test_without_it_the_last_model_is_the_model() -> None:
    states = played(4)
    assert models(states) == [8, 4, 2, 1]
    assert states[-1].average is None


def test_swa_is_the_mean_of_the_last_rounds() -> None:
    assert models(played(4, average="swa", average_rounds=3)) == [8, 4, 3, pytest.approx(7 / 3)]
    assert models(played(4, average="swa", average_rounds=9)) == [8, 6, pytest.approx(14 / 3), 3.75]


def test_ema_weighs_each_round_less_than_the_next() -> None:
    # weights 1; 1/2, 1; 1/4, 1/2, 1: 8, (4 + 4) / 1.5, (2 + 2 + 2) / 1.75
    assert models(played(3, average="ema", average_decay=0.5)) == pytest.approx(
        [8, 8 / 1.5, 6 / 1.75]
    )


def test_training_goes_on_from_the_last_model_itself() -> None:
    assert [state.params.item() for state in played(4, average="ema")] == [8, 4, 2, 1]


@pytest.mark.parametrize("settings", [{"average": "ema"}, {"average": "swa", "average_rounds": 3}])
def test_a_checkpoint_keeps_both(settings: dict, tmp_path: Path) -> None:
    whole = played(4, **settings)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(whole[2])
    state = checkpoints.load(3)
    assert state.model.item() != state.params.item()
    resumed = played(4, state, **settings)
    assert torch.equal(resumed[-1].model, whole[-1].model)
    assert torch.equal(resumed[-1].params, whole[-1].params)


def test_more_rounds_open_the_window_anew() -> None:
    state = played(4, average="swa", average_rounds=2)[-1]
    assert models(played(7, state, average="swa", average_rounds=2)) == [0.5, 0.25, 0.1875]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"average_decay": 0.5},
            r"strategy\.average_decay got 0\.5, but strategy\.average is none; it is for ema",
        ),
        (
            {"average": "ema", "average_rounds": 3},
            r"average_rounds got 3, but strategy\.average is ema; it is for swa",
        ),
    ],
)
def test_a_setting_without_effect_is_an_error(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        strategies.build(StrategyConfig(**settings))
