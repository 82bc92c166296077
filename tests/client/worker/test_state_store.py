"""Stores' memory between rounds."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.client.worker.state_store import StateStore
from tests.helpers.by_hand import order_of


def state(value: float) -> dict[str, torch.Tensor]:
    return {"control": torch.tensor([value])}


def kept(directory: Path) -> list[int]:
    return sorted(
        int(path.stem.removeprefix("round-")) for path in directory.rglob("round-*.safetensors")
    )


def test_nothing_is_remembered_at_first(tmp_path: Path) -> None:
    assert StateStore(tmp_path).load("run", "oslo", 1) == {}


def test_a_round_starts_from_the_latest_one_before_it(tmp_path: Path) -> None:
    states = StateStore(tmp_path)
    for round in (2, 5):
        states.save(order_of(round), "oslo", state(round))
    found = {round: states.load("run", "oslo", round) for round in (2, 3, 5, 6)}
    assert {round: [t.item() for t in tensors.values()] for round, tensors in found.items()} == {
        2: [], 3: [2], 5: [2], 6: [5]
    }  # fmt: skip
    assert states.load("run", "lyon", 6) == states.load("other", "oslo", 6) == {}


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 3)), min_size=1, max_size=12),
)
def test_what_a_crash_takes_back_is_still_known(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    """After any rounds with any commits, a server that falls back to the last commit finds the
    state of then.
    """
    directory = tmp_path_factory.mktemp("states")
    states = StateStore(directory)
    round = 0
    committed = 0
    history = dict[int, float]()
    for gap, behind in steps:
        round += gap
        committed = max(committed, round - 1 - behind)
        states.save(order_of(round, committed=committed), "oslo", state(round))
        history[round] = float(round)
        expected = max((r for r in history if r <= committed), default=None)
        found = states.load("run", "oslo", committed + 1)
        assert (found["control"].item() if found else None) == expected
        assert len([r for r in kept(directory) if r <= committed]) <= 1


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=8))
def test_what_the_best_model_goes_with_is_still_known(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]]
) -> None:
    """A run that ends with the model of its best round finds each store's state of then; in between
    it forgets.
    """
    directory = tmp_path_factory.mktemp("states")
    states = StateStore(directory)
    round = 0
    best = 0
    trained = list[int]()
    for gap, is_best in steps:
        states.save(order_of(round + gap, committed=round, best=best), "oslo", state(round + gap))
        round += gap
        trained.append(round)
        best = round if is_best else best
        expected = max((r for r in trained if r <= best), default=None)
        found = states.load("run", "oslo", best + 1)
        assert (found["control"].item() if found else None) == expected
        assert len(kept(directory)) <= 3
