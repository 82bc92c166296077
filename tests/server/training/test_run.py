"""The files of a training, and when they are on disk."""

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest

from fedshelf.common.errors import StoresError
from fedshelf.common.protocol.messages import Failure, TrainOrder, Update
from fedshelf.server.results import checkpoints as checkpoints_module
from fedshelf.server.results.checkpoints import Checkpoints
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.training.run import StopRequest, Training
from fedshelf.server.training.setup import InitialState
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector


class Fragile(Targets):
    """Every store fails from round `last` on."""

    last = 50

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        if order.round >= self.last:
            yield from (Failure(name, "error", "broken") for name in stores)
        else:
            yield from super().train(order, stores)


def training(path: Path, runtime: Targets) -> Training:
    plan = plan_of(run__rounds=60, evaluation__every=100)
    directory = RunDirectory.open(path, plan.config)
    return Training(InitialState(plan, vector(0.0), ONE), runtime, Notes(), directory, 0.0)


def test_quick_rounds_share_checkpoints_and_none_is_lost_when_the_run_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a clock that moves on whenever it is looked at: a checkpoint takes as long as a round, on
    any machine.
    """
    ticks = count()
    monkeypatch.setattr(
        checkpoints_module, "time", SimpleNamespace(monotonic=lambda: next(ticks) / 1000)
    )
    failing = training(tmp_path, Fragile({"a": 4.0}))
    with pytest.raises(StoresError, match="saved up to round 49"):
        failing.run(StopRequest(Notes()))
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=3)
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.round == 49
    assert latest.record is not None
    assert [record["round"] for record in failing.directory.history()] == list(range(1, 50))
    assert checkpoints.rounds()[0] < 47, "49 quick rounds made more than a few checkpoints"


def test_rounds_after_the_last_checkpoint_are_played_again(tmp_path: Path) -> None:
    """As after a SIGKILL: the history is ahead of the checkpoint."""
    failing = training(tmp_path, Fragile({"a": 4.0}))
    with pytest.raises(StoresError):
        failing.run(StopRequest(Notes()))
    (tmp_path / "checkpoints" / "round-000049.safetensors").unlink()
    earlier = Checkpoints(tmp_path / "checkpoints", keep=3).latest()
    assert earlier is not None
    assert earlier.round < 49
    failing.directory.close()
    resumed = training(tmp_path, Fragile({"a": 4.0}))
    assert isinstance(resumed.observer, Notes)
    with pytest.raises(StoresError, match="saved up to round 49"):
        resumed.run(StopRequest(Notes()))
    assert [row["round"] for row in resumed.observer.rows] == list(range(1, 50))
    assert [record["round"] for record in resumed.directory.history()] == list(range(1, 50))
