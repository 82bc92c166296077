"""The learning rate over rounds, and rounds in which there is none."""

from pathlib import Path

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import resolve
from fedshelf.common.config.learning_rate_schedule import standstill
from fedshelf.common.errors import ConfigError
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.simulations.engines.sequential import SequentialEngine
from tests.helpers.by_hand import Notes
from tests.helpers.simulated_stores import federation, settings, start
from tests.helpers.toy import TRAINED

TO_NOTHING = {"train.schedule": "cosine", "train.final_lr": 0.0}
STEEP = {"train.schedule": "step", "train.step_rounds": 1, "train.step_factor": 0.1}


@pytest.mark.parametrize(
    ("given", "rounds", "expected"),
    [
        (TO_NOTHING, 10, 10),
        (TO_NOTHING, 1, None),  # the first round is the last one
        ({"train.schedule": "cosine", "train.final_lr": 1e-40}, 10, 10),
        ({"train.schedule": "cosine"}, 10, None),
        ({"train.final_lr": 0.0}, 10, None),  # constant
        (STEEP | {"train.lr": 1.0}, 38, None),  # 1e-37
        # 1e-38 is less than float32's least with all digits, 1.2e-38
        (STEEP | {"train.lr": 1.0}, 60, 39),
        ({"train.lr": 1e-50}, 3, 1),
    ],
)
def test_the_first_round_without_a_rate(given: dict, rounds: int, expected: int | None) -> None:
    assert standstill(resolve(given | {"run.rounds": rounds})) == expected


@pytest.mark.parametrize("name", ["scaffold", "fednova"])
@pytest.mark.parametrize("given", [TO_NOTHING, STEEP, {"train.lr": 1e-50}])
def test_strategies_that_cannot_stand_still_refuse_before_round_1(name: str, given: dict) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"got '{name}', which .* of round \d+ is 0 \(see .*; change one of them\.",
    ):
        strategies.check(resolve(given | {"strategy.name": name, "run.rounds": 60}))


@pytest.mark.parametrize("name", [n for n in TRAINED if n not in ("scaffold", "fednova")])
def test_others_go_on_with_a_word(name: str, tmp_path: Path) -> None:
    config = settings(
        model__name="cnn", strategy__name=name, train__schedule="cosine", train__final_lr=0.0,
        run__rounds=2, run__workers=1, train__epochs=1,
    )  # fmt: skip
    begun = start(config)
    notes = Notes()
    engine = SequentialEngine(federation((13, 6, 9)), begun, tmp_path)
    rounds = RoundLoop(begun.plan, begun.layout, engine, notes, lambda: False)
    before, _ = rounds.play(rounds.initial_state(begun.params))
    word = "Round 2: the learning rate is 0 from here on, so no store changes a weight."
    assert word not in notes.notes
    after, record = rounds.play(before)
    engine.close()
    assert notes.notes.count(word) == 1
    assert record["lr"] == 0
    assert torch.isfinite(after.params).all()
    if (
        name != "feddyn" and "server_lr" not in strategies.STRATEGIES[name].settings_used()
    ):  # else what the server remembers moves it on
        torch.testing.assert_close(after.params, before.params)
