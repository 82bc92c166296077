"""A checkpoint is everything that changes, and never half of it."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file

from fedshelf.common.errors import RunError
from fedshelf.server.results.checkpoints import Best, Checkpoints, Totals, TrainingState, add_round
from tests.helpers.by_hand import vector

STATE = TrainingState(
    round=4,
    params=vector(1.5, -2.0),
    strategy={"velocity": vector(0.25, 0.5), "steps": torch.tensor(4)},
    best=Best(3, 0.9, 0.9, "test"),
    stale=1,
    totals=Totals(100, 8, 16, {"train": 1.5}),
    record={"round": 4, "stores": {"Süd": {"loss": 0.5}}},
)


def test_round_trip(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    checkpoints.save(STATE)
    back = checkpoints.latest()
    assert back is not None
    assert torch.equal(back.params, STATE.params)
    assert back.strategy["steps"] == 4
    assert torch.equal(back.strategy["velocity"], STATE.strategy["velocity"])
    assert (back.best, back.stale, back.totals, back.record) == (
        STATE.best,
        STATE.stale,
        STATE.totals,
        STATE.record,
    )


def test_keeps_the_latest_and_the_best(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for round in range(1, 8):
        checkpoints.save(replace(STATE, round=round))  # the best is round 3
    assert checkpoints.rounds() == [3, 6, 7]


def test_none_yet(tmp_path: Path) -> None:
    assert Checkpoints(tmp_path, keep=2).latest() is None


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 8 + b"{}"])
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "round-000005.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"round-000005\.safetensors cannot be read"):
        Checkpoints(tmp_path, keep=2).latest()


@given(st.data())
def test_a_flipped_bit_changes_nothing_or_is_one_sentence(data: st.DataObject) -> None:
    with TemporaryDirectory() as place:
        checkpoints = Checkpoints(Path(place), keep=2)
        checkpoints.save(STATE)
        path = Path(place) / "round-000004.safetensors"
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        try:
            back = checkpoints.load(4)
        except RunError as error:
            assert "cannot be read" in str(error)  # noqa: PT017 - either outcome is right
            return
        assert (back.round, back.best, back.totals, back.record) == (
            4,
            STATE.best,
            STATE.totals,
            STATE.record,
        )
        assert torch.equal(back.params, STATE.params)
        assert torch.equal(back.strategy["velocity"], STATE.strategy["velocity"])


def test_each_flipped_bit_of_the_parameters_is_found(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(STATE)
    path = tmp_path / "round-000004.safetensors"
    content = path.read_bytes()
    place = content.index(STATE.params.numpy().tobytes())
    for bit in range(64):
        damaged = bytearray(content)
        damaged[place + bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(RunError, match="its checksum differs"):
            checkpoints.load(4)


def test_a_checkpoint_under_another_rounds_name_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(STATE)
    (tmp_path / "round-000004.safetensors").rename(tmp_path / "round-000009.safetensors")
    with pytest.raises(RunError, match="it is the checkpoint of round 4, not of round 9"):
        checkpoints.latest()


def test_a_checkpoint_of_an_earlier_version_has_no_checksum(tmp_path: Path) -> None:
    Checkpoints(tmp_path, keep=2).save(STATE)
    path = tmp_path / "round-000004.safetensors"
    with safe_open(path, "pt") as file:
        state = file.metadata()["state"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    save_file(tensors, path, metadata={"state": state})
    assert torch.equal(Checkpoints(tmp_path, keep=2).load(4).params, STATE.params)


def test_what_a_kill_leaves_behind_is_not_a_checkpoint(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    checkpoints.save(STATE)
    (tmp_path / ".round-000005.safetensors.x1.tmp").write_bytes(b"half")
    latest = checkpoints.latest()
    assert latest is not None
    assert latest.round == 4


def test_sums_over_rounds() -> None:
    state = add_round(STATE, Totals(50, 1, 2, {"train": 0.5, "total": 3.0}), round=5)
    assert state.totals == Totals(150, 9, 18, {"total": 3.0, "train": 2.0})
    assert state.round == 5


def test_saved_states_are_committed_and_so_are_loaded_ones(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert STATE.committed == 0
    assert checkpoints.save(STATE).committed == 4
    assert checkpoints.load(4).committed == 4


def test_a_checkpoint_is_due_at_first_and_not_right_after_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    assert checkpoints.is_due()
    checkpoints.save(STATE)
    assert not checkpoints.is_due()  # no time at all is less than twenty times what it took
