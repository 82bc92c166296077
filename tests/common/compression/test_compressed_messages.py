"""Compressed updates arrive as they were meant; what is hostile, or does not go together, is
refused.
"""

import contextlib
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedshelf.common import compression, strategies
from fedshelf.common.compression import CODECS, Codec
from fedshelf.common.compression.base import rebuild
from fedshelf.common.config import MessagesConfig, resolve
from fedshelf.common.errors import ConfigError, MessageError
from fedshelf.common.protocol.messages import Plan, TrainOrder, Update
from fedshelf.common.protocol.serialization import decode_result, encode_result
from fedshelf.common.training.error_feedback import compress_update
from tests.helpers.toy import TRAINED, told

CODEC = pytest.mark.parametrize("name", CODECS)


def codec(name: str, **more: Any) -> Codec:
    made = compression.build(MessagesConfig(compression=name, **more))
    assert made is not None
    return made


def update(params: Tensor) -> Update:
    return Update("oslo", 1, params, 5, 0.5, 0.0)


def noise(size: int, seed: int = 0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) ** 3


# --- on the wire ----------------------------------------------------------------------------------


def ordered(name: str, params: Tensor) -> TrainOrder:
    return TrainOrder(Plan("run", resolve({"messages.compression": name}), None), 1, params)  # type: ignore[arg-type]


@CODEC
@given(size=st.integers(1, 600), buffers=st.integers(0, 5), seed=st.integers(0, 99))
def test_the_server_rebuilds_what_the_store_meant(
    name: str, size: int, buffers: int, seed: int
) -> None:
    begin = noise(size + buffers, seed)
    end = noise(size + buffers, seed + 1)
    sent, _ = compress_update(update(end), begin, size, None, codec(name))
    arrived = decode_result(encode_result(sent), ordered(name, begin))
    assert isinstance(arrived, Update)
    assert torch.equal(arrived.params, sent.params)
    assert (arrived.packed, arrived.wire_bytes) == (None, sent.wire_bytes)


@pytest.mark.parametrize("asked", ["none", *CODECS])
@pytest.mark.parametrize("sent", ["none", *CODECS])
def test_an_update_compressed_otherwise_than_asked_is_refused(asked: str, sent: str) -> None:
    begin = noise(400)
    answer, _ = compress_update(
        update(noise(400, 1)), begin, 400, None, compression.build(MessagesConfig(compression=sent))
    )
    expected = contextlib.nullcontext() if asked == sent else pytest.raises(MessageError)
    with expected:
        decode_result(encode_result(answer), ordered(asked, begin))


dtypes = st.sampled_from(
    [torch.float16, torch.float32, torch.int8, torch.uint8, torch.uint16, torch.int64, torch.bool]
)
tensors = st.builds(
    lambda dtype, shape, fill: torch.full(shape, fill, dtype=torch.int64).to(dtype),
    dtypes, st.lists(st.integers(0, 9), max_size=2), st.sampled_from([0, 1, 255, 65535]),
)  # fmt: skip


@CODEC
@given(
    packed=st.dictionaries(
        st.sampled_from(["values", "gaps", "codes", "scales", "buffers", "x"]), tensors
    )
)
def test_anything_else_is_refused_or_is_a_vector(name: str, packed: dict[str, Tensor]) -> None:
    begin = torch.ones(8)
    with contextlib.suppress(MessageError):
        found = rebuild(begin, packed, codec(name))
        assert (found.shape, found.dtype) == (begin.shape, torch.float32)


def whole(name: str) -> dict[str, Tensor]:
    packed = compress_update(update(noise(600)), torch.zeros(600), 590, None, codec(name))[0].packed
    assert packed is not None
    return dict(packed)


@pytest.mark.parametrize(
    ("name", "part", "forged", "words"),
    [
        (
            "fp16",
            "values",
            torch.zeros(589).half(),
            r"float16 \[589\]; expected torch.float16 \[590\]",
        ),
        ("fp16", "buffers", torch.zeros(601), "at most 600"),
        ("int8", "codes", torch.zeros(591, dtype=torch.int8), "codes"),
        ("int8", "scales", torch.zeros(600), "scales"),
        (
            "top-k",
            "gaps",
            torch.full((59,), 254, dtype=torch.uint8),
            "changes value 15044 of a model of 590",
        ),
        ("top-k", "gaps", torch.zeros(58, dtype=torch.uint8), r"expected torch.float16 \[58\]"),
        ("top-k", "gaps", torch.zeros(59, dtype=torch.int64), "gaps"),
        ("top-k", "values", torch.zeros(59), "values"),
        ("top-k", "values", torch.zeros(59, 1).half(), "values"),
    ],
)
def test_a_forged_part_is_named(name: str, part: str, forged: Tensor, words: str) -> None:
    rebuild(torch.zeros(600), whole(name), codec(name))
    with pytest.raises(MessageError, match=words):
        rebuild(torch.zeros(600), whole(name) | {part: forged}, codec(name))


@CODEC
def test_missing_and_additional_parts_are_refused(name: str) -> None:
    packed = whole(name)
    for part in packed:
        with pytest.raises(MessageError, match=part):
            rebuild(
                torch.zeros(600),
                {key: value for key, value in packed.items() if key != part},
                codec(name),
            )
    with pytest.raises(MessageError, match="more"):
        rebuild(torch.zeros(600), packed | {"more": torch.zeros(1)}, codec(name))


# --- what goes together ---------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", TRAINED)
@CODEC
def test_every_strategy_works_with_it_or_says_why_not(name: str, strategy: str) -> None:
    config = resolve({"messages.compression": name, "strategy.name": strategy})
    if name == "top-k" and strategy in ("median", "trimmed-mean"):
        with pytest.raises(ConfigError, match="would never change"):
            strategies.check_compression(config)
        return
    strategies.check_compression(config)
    begin = noise(300)
    algorithm = strategies.build(config.strategy)
    cohort = [
        compress_update(update(begin + 0.01 * noise(300, i)), begin, 290, None, codec(name))[0]
        for i in range(1, 6)
    ]
    cohort = told(algorithm, begin, cohort, 290)
    params, _ = algorithm.update_global_model(
        begin, cohort, algorithm.init_server_state(begin, 290), 290
    )
    assert torch.isfinite(params).all()
    assert not torch.equal(params, begin)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"messages.compression": "topk"},
            r"got 'topk'; allowed: none, fp16, int8, top-k. Did you mean top-k\?",
        ),
        ({"messages.keep": 0.2}, "compression none does not use it; it is for top-k"),
        (
            {"messages.compression": "int8", "messages.keep": 0.2},
            "compression int8 does not use it",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        strategies.check_compression(resolve(given))
