"""Updates on disk: the same results as in memory, and nothing left behind."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as draw

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.parameters.aggregation import BLOCK_COORDINATES
from fedshelf.common.protocol.messages import Update
from fedshelf.server.updates.buffer import DiskBuffer, InMemoryBuffer, UpdateBuffer
from tests.helpers.toy import TRAINED, told

SETTINGS = {"krum": {"malicious": 1}, "multi-krum": {"malicious": 1}}


def random_updates(count: int, size: int, seed: int) -> list[Update]:
    draws = torch.Generator().manual_seed(seed)
    vectors = torch.randn(count, size, generator=draws)
    extras = {
        "change": torch.randn(3, 2, generator=draws),
        "steps": torch.tensor(seed),
        "none": torch.empty(0, 4),
    }
    return [
        Update(f"s{i}", 1, vector.clone(), i + 1, 0.5, 0.1, extras)
        for i, vector in enumerate(vectors)
    ]


def held(holder: UpdateBuffer, updates: list[Update]) -> UpdateBuffer:
    for update in reversed(updates):  # arrival order is not store order
        holder.put(update)
    return holder


@pytest.mark.parametrize("name", TRAINED)
@settings(max_examples=4, deadline=None)  # each waits for the disk
@given(
    count=draw.integers(1, 9),
    size=draw.sampled_from([1, 7, BLOCK_COORDINATES, 2 * BLOCK_COORDINATES + 3]),
    seed=draw.integers(0, 99),
)
def test_every_strategy_makes_the_same_of_updates_on_disk(
    tmp_path_factory: pytest.TempPathFactory, name: str, count: int, size: int, seed: int
) -> None:
    strategy = strategies.build(StrategyConfig(name=name, **SETTINGS.get(name, {})))
    start = torch.ones(size)
    updates = told(strategy, start, random_updates(count, size, seed), size)
    found = []
    for holder in (InMemoryBuffer(), DiskBuffer(tmp_path_factory.mktemp("run") / "updates")):
        memory = strategy.init_server_state(start, size)
        params, memory = strategy.update_global_model(
            start, held(holder, updates).updates(), memory, size
        )
        found.append((params, memory))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(found[0][1][key], found[1][1][key]) for key in found[0][1])


def test_an_update_reads_back_and_in_store_order(tmp_path: Path) -> None:
    updates = random_updates(3, 5, 1)
    spool = held(DiskBuffer(tmp_path / "updates"), updates)
    assert [update.store for update in spool.updates()] == ["s0", "s1", "s2"]
    for found, update in zip(spool.updates(), updates, strict=True):
        assert torch.equal(found.params, update.params)
        assert found.extras.keys() == update.extras.keys()
        for name, tensor in update.extras.items():
            assert found.extras[name].dtype == tensor.dtype
            assert found.extras[name].shape == tensor.shape
            assert torch.equal(found.extras[name], tensor)
        assert (found.num_examples, found.loss, found.seconds) == (
            update.num_examples,
            update.loss,
            update.seconds,
        )


def test_writing_to_what_was_read_changes_nothing_on_disk(tmp_path: Path) -> None:
    updates = held(DiskBuffer(tmp_path / "updates"), random_updates(1, 5, 1)).updates()
    before = updates[0].params.clone()
    updates[0].params.zero_()
    assert torch.equal(updates[0].params, before)


def test_dropped_and_cleared_updates_leave_no_file_and_a_killed_process_neither(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "updates"
    spool = held(DiskBuffer(directory), random_updates(2, 5, 1))
    assert len(list(directory.iterdir())) == 2 * 4
    spool.drop("s0")
    assert [update.store for update in spool.updates()] == ["s1"]
    assert len(list(directory.iterdir())) == 4
    DiskBuffer(directory).clear()  # another process, after a kill
    assert not directory.exists()
    DiskBuffer(directory).clear()


def test_nobody_else_can_read_them(tmp_path: Path) -> None:
    held(DiskBuffer(tmp_path / "updates"), random_updates(1, 5, 1))
    assert (tmp_path / "updates").stat().st_mode & 0o777 == 0o700


def resident() -> int:
    """Bytes of this process's memory, pages of files among them."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Watched(Sequence[Update]):
    """Updates, and the most memory that this process had whenever one was asked for."""

    def __init__(self, updates: Sequence[Update]) -> None:
        self._updates = updates
        self.peak = 0

    def __len__(self) -> int:
        return len(self._updates)

    def __getitem__(self, index):
        self.peak = max(self.peak, resident())
        return self._updates[index]


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "fednova", "multi-krum", "median"])
def test_many_updates_take_the_memory_of_a_few(tmp_path: Path, name: str) -> None:
    """32 updates of 4 MiB: 128 MiB. A third of it is more than the result, an update, the spans
    looked at, and what torch takes when it first works.
    """
    stores = 32
    size = 2**20
    strategy = strategies.build(StrategyConfig(name=name))
    start = torch.zeros(size)
    spool = DiskBuffer(tmp_path / "updates")
    for number in range(stores):
        update = Update(f"s{number:02}", 1, torch.full((size,), float(number)), 1, 0.0, 0.0)
        spool.put(told(strategy, start, [update], size)[0])
    updates = Watched(spool.updates())
    memory = strategy.init_server_state(start, size)
    before = resident()
    strategy.update_global_model(start, updates, memory, size)
    assert updates.peak - before < stores * 4 * size / 3
