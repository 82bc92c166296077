"""Updates in fewer bytes: numbers by hand, and nothing lost for good."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import compression
from fedshelf.common.compression import CODECS, Codec
from fedshelf.common.compression.int8 import VALUES_PER_SCALE
from fedshelf.common.config import MessagesConfig, RunConfig
from fedshelf.common.protocol.messages import Update
from fedshelf.common.training.error_feedback import compress_update, split_state
from tests.helpers.simulated_stores import CPU, federation, order, same, settings, start, together

CODEC = pytest.mark.parametrize("name", CODECS)


def codec(name: str, **more: Any) -> Codec:
    made = compression.build(MessagesConfig(compression=name, **more))
    assert made is not None
    return made


def update(params: Tensor) -> Update:
    return Update("oslo", 1, params, 5, 0.5, 0.0)


def error_of(kept: dict[str, Tensor]) -> Tensor:
    error = split_state(kept)[1]
    assert error is not None
    return error


def noise(size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) ** 3


# --- numbers by hand ------------------------------------------------------------------------------


def test_top_k_sends_the_largest_and_adds_the_rest_to_the_next() -> None:
    top = codec("top-k", keep=0.5)
    zero = torch.zeros(4)
    sent, kept = compress_update(update(torch.tensor([1.0, -5.0, 3.0, 2.0])), zero, 4, None, top)
    assert sent.params.tolist() == [0.0, -5.0, 3.0, 0.0]
    assert error_of(kept).tolist() == [1.0, 0.0, 0.0, 2.0]
    sent, kept = compress_update(
        update(torch.tensor([1.0, 1.0, 1.0, 1.0])), zero, 4, error_of(kept), top
    )
    assert sent.params.tolist() == [2.0, 0.0, 0.0, 3.0]  # of 2, 1, 1, 3
    assert error_of(kept).tolist() == [0.0, 1.0, 1.0, 0.0]


def test_top_k_tells_places_by_gaps() -> None:
    vector = torch.zeros(1000)
    vector[[0, 1, 4, 600]] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    packed = codec("top-k", keep=0.004).pack(vector)
    assert packed["values"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert packed["gaps"].tolist() == [0, 0, 2, 255, 255, 85]  # 2 * 255 + 85 = 600 - 4 - 1
    assert packed["gaps"].dtype == torch.uint8


def test_int8_has_127_steps_to_the_largest_value_of_a_block() -> None:
    vector = torch.zeros(VALUES_PER_SCALE + 1)
    vector[:4] = torch.tensor([127.0, -63.0, 0.4, 0.6])
    vector[VALUES_PER_SCALE] = 1e-30
    packed = codec("int8").pack(vector)
    assert packed["codes"][:5].tolist() == [127, -63, 0, 1, 0]
    assert packed["scales"][0].item() == 1.0
    assert codec("int8").unpack(packed, VALUES_PER_SCALE + 1)[-1].item() == pytest.approx(1e-30)


@pytest.mark.parametrize(
    ("name", "each"), [("fp16", 2), ("int8", 1 + 4 / VALUES_PER_SCALE), ("top-k", 0.1 * 3)]
)
def test_bytes_are_as_the_documentation_says(name: str, each: float) -> None:
    size = 10_240
    buffers = 32
    sent, _ = compress_update(
        update(noise(size + buffers)), torch.zeros(size + buffers), size, None, codec(name)
    )
    assert sent.wire_bytes == pytest.approx(each * size + 4 * buffers, rel=0.001)
    assert sent.packed is not None
    assert sent.wire_bytes == sum(tensor.nbytes for tensor in sent.packed.values())


# --- what holds for every codec -------------------------------------------------------------------


@CODEC
@given(
    size=st.integers(1, 700), seed=st.integers(0, 99), keep=st.sampled_from([0.001, 0.01, 0.1, 0.5])
)
def test_what_is_sent_and_what_is_left_make_the_change(
    name: str, size: int, seed: int, keep: float
) -> None:
    """Over rounds: all that was sent, and the last error, are the sum of all changes."""
    chosen = codec(name, **({"keep": keep} if name == "top-k" else {}))
    error = None
    changes = torch.zeros(size)
    sent = torch.zeros(size)
    for round in range(4):
        begin = noise(size, seed + 1000)
        change = noise(size, seed + round)
        out, kept = compress_update(update(begin + change), begin, size, error, chosen)
        error = error_of(kept)
        changes += change
        sent += out.params - begin
    assert torch.allclose(sent + error, changes, atol=1e-4 * float(changes.abs().max() + 10))


@CODEC
@given(size=st.integers(1, 700), seed=st.integers(0, 99))
def test_errors_shrink_what_they_are_errors_of(name: str, size: int, seed: int) -> None:
    """A codec is a contraction, which is what error feedback needs (Karimireddy et al. 2019,
    Assumption A).
    """
    vector = noise(size, seed)
    left = vector - codec(name).unpack(codec(name).pack(vector), size)
    assert float(left.square().sum()) <= (1 - 1 / (2 * size)) * float(vector.square().sum())


@CODEC
@given(where=st.integers(0, 599), bad=st.sampled_from([float("nan"), float("inf"), -float("inf")]))
def test_what_is_not_finite_is_seen_and_forgotten(name: str, where: int, bad: float) -> None:
    end = noise(600)
    error = noise(600, 1)
    end[where] = bad
    sent, kept = compress_update(update(end), torch.zeros(600), 600, error, codec(name))
    assert not torch.isfinite(sent.params).all()
    assert torch.equal(error_of(kept), error)


@CODEC
def test_buffers_travel_as_they_are(name: str) -> None:
    end = torch.cat([noise(300), torch.tensor([1e-9, 1e9, 3.0])])
    sent, kept = compress_update(update(end), noise(303, 1), 300, None, codec(name))
    assert torch.equal(sent.params[300:], end[300:])
    assert error_of(kept).shape == (300,)


@CODEC
def test_standing_still_sends_zeros(name: str) -> None:
    begin = noise(600)
    sent, kept = compress_update(update(begin.clone()), begin, 600, None, codec(name))
    assert torch.equal(sent.params, begin)
    assert not error_of(kept).any()


def test_without_compression_nothing_changes() -> None:
    whole = update(noise(9))
    sent, kept = compress_update(whole, torch.zeros(9), 9, None, None)
    assert sent is whole
    assert (kept, sent.wire_bytes) == ({}, 36)


# --- at a store, over rounds ----------------------------------------------------------------------


def trained(states: Path, config: RunConfig, rounds: list[int], committed: int = 0) -> list[Update]:
    dealt = federation([12])
    begun = start(config)
    trainer = Trainer(CPU, StateStore(states))
    images = dealt.stores["store-0"].train
    return [
        trainer.train(order(begun, round, committed=committed), "store-0", images)
        for round in rounds
    ]


@CODEC
def test_a_round_trained_again_is_the_same(name: str, tmp_path: Path) -> None:
    """As after a crash of the server, or for a second attempt at a quorum; also in a process that
    starts anew.
    """
    config = settings(messages__compression=name, train__epochs=1)
    first = trained(tmp_path, config, [1, 2, 3])
    again = trained(tmp_path, config, [2, 3])
    assert all(
        torch.equal(one.params, other.params) for one, other in zip(first[1:], again, strict=True)
    )
    assert not torch.equal(first[0].params, trained(tmp_path / "new", config, [2])[0].params)


def test_a_store_that_missed_rounds_still_sends_what_it_owes(tmp_path: Path) -> None:
    config = settings(messages__compression="top-k", train__epochs=1)
    _, after_a_gap = trained(tmp_path / "gap", config, [1, 3])
    (alone,) = trained(tmp_path / "alone", config, [3])
    error = split_state(StateStore(tmp_path / "gap").load("run", "store-0", 2))[1]
    assert error is not None
    assert error.any()
    assert not torch.equal(after_a_gap.params, alone.params)


def test_stores_that_train_together_compress_as_alone(tmp_path: Path) -> None:
    config = settings(messages__compression="fp16", strategy__name="fedprox")
    found = together(federation([9, 7, 5]), config, tmp_path / "together")
    begun = start(config)
    trainer = Trainer(CPU, StateStore(tmp_path / "alone"))
    stores = federation([9, 7, 5]).stores
    alone = {name: trainer.train(order(begun), name, data.train) for name, data in stores.items()}
    assert same(found, alone)
    assert {name: one.wire_bytes for name, one in found.items()} == {
        name: one.wire_bytes for name, one in alone.items()
    }
    for name in alone:
        kept = [
            StateStore(tmp_path / place).load("run", name, 2) for place in ("together", "alone")
        ]
        assert kept[0].keys() == kept[1].keys()
        assert error_of(kept[0]).shape == error_of(kept[1]).shape
