"""One store of three sends a huge update over real messages: it is named, and the other two go
on.
"""

from pathlib import Path

import torch

from fedshelf.client.process.handler import make_app
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import resolve
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Plan, TrainOrder, Update
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.training.round_loop import RoundLoop
from tests.helpers.by_hand import Notes
from tests.helpers.deployed import LocalGrid, wait_for
from tests.helpers.grid_stores import Doubler

SPEC = ModelSpec("cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.25,) * 3)
LAYOUT = Layout(("w",), (torch.Size([4]),), 4, 4)


def huge(order: TrainOrder) -> Update:
    return Update("evil", order.round, torch.full((4,), 1e30), 7, 0.5, 0.0)


def test_an_update_of_1e30_in_round_1_is_refused_and_named(tmp_path: Path) -> None:
    grid = LocalGrid()
    notes = Notes()
    for node, worker in enumerate(
        (Doubler("oslo"), Doubler("rome"), Doubler("evil", huge)), start=10
    ):
        grid.apps[node] = make_app(
            lambda _, worker=worker: worker, FrozenCache(tmp_path / str(node))
        )
    config = resolve({"data.dataset": "stores", "cohort.min_stores": 2, "run.rounds": 3})
    runtime = GridRuntime(grid, config, "run", notes.note)
    rounds = RoundLoop(Plan("run", config, SPEC), LAYOUT, runtime, notes, lambda: False)
    wait_for(lambda: len(runtime.stores()) == 3)
    state, record = rounds.play(rounds.initial_state(torch.ones(4)))
    assert state.params.tolist() == [2.0] * 4
    assert "of norm beyond 1e19, where its order allows" in record["failed"]["evil"]["reason"]
    assert sorted(record["stores"]) == ["oslo", "rome"]
