"""Updates of suspects are made as long as is usual: by hand, in memory and on disk."""

from pathlib import Path

import pytest

from fedshelf.common.protocol.messages import Update
from fedshelf.server.updates.buffer import DiskBuffer, InMemoryBuffer, UpdateBuffer
from fedshelf.server.updates.reputation import clip
from tests.helpers.by_hand import vector


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_only_suspects_with_larger_updates_are_clipped_to_the_median_norm(
    where: str, tmp_path: Path
) -> None:
    held: UpdateBuffer = InMemoryBuffer() if where == "memory" else DiskBuffer(tmp_path / "updates")
    start = vector(1.0, 1.0)
    changes = {"a": (0.0, 1.0), "b": (3.0, 4.0), "c": (2.0, 0.0), "d": (0.0, 9.0)}
    for store, (x, y) in changes.items():
        held.put(Update(store, 1, vector(1 + x, 1 + y), 10, 1.0, 0.1))
    # the median of four is the lower middle one: 2
    norms = {"a": 1.0, "b": 5.0, "c": 2.0, "d": 9.0}
    assert clip(held, start, norms, ["a", "b", "gone"]) == {"b": 0.4}
    assert {update.store: update.params.tolist() for update in held.updates()} == {
        "a": [1, 2],
        "b": pytest.approx([2.2, 2.6]),
        "c": [3, 1],
        "d": [1, 10],
    }


def test_no_update_is_no_error() -> None:
    assert clip(InMemoryBuffer(), vector(0.0), {}, ["a"]) == {}
