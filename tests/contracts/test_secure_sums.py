"""Runs with a secure sum: real stores' masked vectors give the run that a simulation gives, to the
bit.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.common.config import RunConfig
from fedshelf.server.report.console import format_round
from fedshelf.server.report.run_data import RunData
from fedshelf.server.report.suspects import irregular_rounds
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.runtimes import OPENERS, REFERENCE, begin, play, stores
from tests.helpers.sameness import is_same_run, is_same_state
from tests.helpers.simulated_stores import settings

GENTLE = {"strategy__server_lr": 0.01}
ROWS = {"strategy__absent_classes": "weigh"}


def config_of(changed: dict[str, object]) -> RunConfig:
    """Five of six stores a round; one of the six has no images to train on, and drops out."""
    usual: dict[str, object] = {
        "model__name": "niid-cnn", "train__epochs": 1, "run__rounds": 2, "train__lr": 0.02,
        "cohort__fraction": 0.8, "cohort__min_stores": 3, "privacy__secure_sum": True,
    }  # fmt: skip
    return settings(**usual | changed)


@pytest.fixture(scope="module")
def dealt() -> Federation:
    return stores()


@pytest.mark.parametrize(
    "changed",
    [
        {"strategy__name": "fedprox", "strategy__mu": 0.5, "strategy__absent_classes": "mask"},
        {"strategy__name": "fedadam"} | GENTLE,
        {"strategy__name": "feddyn", "strategy__alpha": 0.1},
        {"strategy__name": "feddyn", "strategy__alpha": 0.1} | ROWS,
        {"strategy__name": "scaffold"} | ROWS,
        {"strategy__name": "fednova", "strategy__weighting": "uniform"},
        {"strategy__name": "fedbn", "model__name": "cnn", "model__norm": "batch"},
        {"messages__compression": "fp16"},
        {"messages__compression": "int8"} | ROWS,
    ],
    ids=lambda changed: "-".join(map(str, changed.values())),
)
def test_masked_vectors_give_the_run_of_the_simulation(
    changed: dict[str, object], dealt: Federation, tmp_path: Path
) -> None:
    """A server that starts again in round 2 asks for the sum of that round again."""
    config = config_of(changed)
    expected = play(OPENERS[REFERENCE], dealt, config, tmp_path / "simulated")
    found = play(OPENERS["grid"], dealt, config, tmp_path / "summed", cut_in=2)
    assert is_same_run("grid", found, expected)
    assert is_same_state("grid", found.delivered.strategy, expected.delivered.strategy)


def test_a_round_whose_sum_is_lost_is_skipped_and_the_run_goes_on(
    dealt: Federation, tmp_path: Path
) -> None:
    """As a simulation that leaves out the training of round 2; the report tells the reason."""
    config = config_of({"run__rounds": 3})
    with OPENERS["grid"](dealt, config, tmp_path / "states") as opened:
        rounds, start = begin(opened, config)
        after_first, first = rounds.play(start)
        rounds.play(after_first)  # its vectors are lost with the server
    (tmp_path / "secure-sums" / "train.safetensors").unlink()
    with OPENERS["grid"](dealt, config, tmp_path / "states") as opened:
        rounds, _ = begin(opened, config)
        after_second, second = rounds.play(replace(after_first, record=first))
        found, third = rounds.play(replace(after_second, record=second))
    with OPENERS[REFERENCE](dealt, config, tmp_path / "simulated") as opened:
        rounds, start = begin(opened, config)
        after_first, first = rounds.play(start)
        expected, _ = rounds.play(replace(after_first, round=2, record=first))
    assert torch.equal(found.params, expected.params)
    assert (second["stores"], second["bytes"]) == ({}, {"down": 0, "up": 0})
    assert (after_second.round, found.round) == (2, 3)
    assert format_round(second, 3, 1.0) == "round=2/3 stores=0/0 seconds=0.000 eta=1"
    run = RunData(tmp_path, [first, second, third], {}, {}, None, {}, {})
    assert irregular_rounds(run) == [
        "Round 2 was skipped: the stores have opened its sum, which is lost at the server; no round"
        " is summed twice."
    ]
