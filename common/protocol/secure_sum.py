"""Orders and answers of a secure sum, beside the order to train.

    server                          store
    SumOrder "keys"    ----------->        once; later the answer to "unmask" brings the next keys
                       <-----------  SumAnswer: its public keys
    SumOrder "shares"  ----------->        the public keys of all
                       <-----------  SumAnswer: its shares, sealed for the others
    order to train or  ----------->        with the shares that the others sealed for it
    to evaluate
                       <-----------  MaskedSummand
    SumOrder "unmask"  ----------->        the stores whose masked updates have come
                       <-----------  SumAnswer: shares that open the sum, and its next keys

`common.privacy.secure_sum` makes and reads the bytes in them.
"""

import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.messages import Purpose
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Plan,
    SumPart,
    SumTerms,
    TrainOrder,
)
from fedshelf.common.protocol.records import RecordReader, Value

PURPOSES: tuple[Purpose, ...] = ("train", "validation", "test")
SumStep = Literal["keys", "shares", "unmask"]
SUM_STEPS: tuple[SumStep, ...] = ("keys", "shares", "unmask")


@dataclass(frozen=True)
class SumOrder:
    """An order to take a step of a secure sum.

    plan: the run; its frozen parameters do not matter here, and do not travel
    round: number of the round, from 1
    purpose: the orders whose answers are summed
    attempt: number of the attempt at the round's sum, from 0
    content: of "keys": the office's list of revoked stores as JSON, or empty; of "shares": the
        roster; of "unmask": the survivors, see `survivors_content`
    committed: last checkpointed round, whose sum is never asked for again
    """

    plan: Plan
    round: int
    purpose: Purpose
    attempt: int
    step: SumStep
    content: bytes
    committed: int = 0


@dataclass(frozen=True)
class SumAnswer:
    """A store's answer to a `SumOrder`.

    content: of "keys": the store's public keys; of "shares": its sealed shares; of "unmask": the
        shares that open the sum, and the store's keys for the next round
    stores: of "unmask": number of stores in the sum; else 0
    """

    store: str
    round: int
    attempt: int
    step: SumStep
    content: bytes
    stores: int = 0


@dataclass(frozen=True)
class MaskedSummand:
    """A store's part of a secure sum, under masks that cancel in the sum over the stores.

    vector: int32 or int16 [Q], ring elements
    seconds: wall time of the work, s
    """

    store: str
    round: int
    attempt: int
    vector: Tensor
    seconds: float = 0.0


def ring_elements(vector: Tensor) -> RingVector:
    """Return int32 or int16 [Q] as ring elements [Q], which share its memory."""
    if vector.dtype is torch.int16:
        return vector.numpy().view(np.uint16)
    return vector.numpy().view(np.uint32)


def ring_tensor(elements: RingVector) -> Tensor:
    """Return ring elements [Q] as int32 or int16 [Q], which shares their memory."""
    return torch.from_numpy(elements.view(np.int16 if elements.dtype == np.uint16 else np.int32))


def purpose_of(order: TrainOrder | EvaluateOrder) -> Purpose:
    """Return the purpose of the sum that an order's answers go into."""
    return "train" if isinstance(order, TrainOrder) else order.split


def survivors_content(survivors: tuple[str, ...]) -> bytes:
    """Return the content of an "unmask" order."""
    return json.dumps(survivors).encode()


def read_survivors(content: bytes) -> tuple[str, ...]:
    """Read `survivors_content` back. Raises ValueError."""
    names = json.loads(content)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("not a list of stores")
    return tuple(names)


def encode_sum_order(order: SumOrder) -> dict[str, Value]:
    """Return the fields of an order beside those of its plan."""
    return {
        "round": order.round,
        "purpose": order.purpose,
        "attempt": order.attempt,
        "step": order.step,
        "content": order.content,
        "committed": order.committed,
    }


def decode_sum_order(reader: RecordReader, plan: Plan) -> SumOrder:
    """Read the fields of `encode_sum_order`. Raises MessageError."""
    return SumOrder(
        plan,
        reader.count("round"),
        reader.choice("purpose", PURPOSES),
        reader.count("attempt"),
        reader.choice("step", SUM_STEPS),
        reader.binary("content"),
        reader.count("committed"),
    )


def encode_sum_answer(answer: SumAnswer) -> dict[str, Value]:
    """Return the fields of an answer."""
    return {
        "store": answer.store,
        "round": answer.round,
        "attempt": answer.attempt,
        "step": answer.step,
        "content": answer.content,
        "stores": answer.stores,
    }


def decode_sum_answer(store: str, reader: RecordReader) -> SumAnswer:
    """Read the fields of `encode_sum_answer`. Raises MessageError."""
    return SumAnswer(
        store,
        reader.count("round"),
        reader.count("attempt"),
        reader.choice("step", SUM_STEPS),
        reader.binary("content"),
        reader.count("stores"),
    )


def encode_sum(order: TrainOrder | EvaluateOrder) -> dict[str, Value]:
    """Return the fields of an order's secure sum, if it has one: terms, and the store's part."""
    terms = order.terms
    part = order.secure_sum
    return {
        **({"sum_stores": terms.stores, "sum_images": terms.images} if terms is not None else {}),
        **({"attempt": part.attempt, "boxes": part.boxes} if part is not None else {}),
    }


def decode_sum(reader: RecordReader) -> tuple[SumTerms | None, SumPart | None]:
    """Read back the fields of `encode_sum`. Raises MessageError."""
    terms = _decode_terms(reader)
    if not reader.has_field("attempt"):
        return terms, None
    return terms, SumPart(reader.count("attempt"), reader.binary("boxes"))


def _decode_terms(reader: RecordReader) -> SumTerms | None:
    if not reader.has_field("sum_stores"):
        return None
    terms = SumTerms(reader.count("sum_stores"), reader.count("sum_images"))
    if not terms.stores or not terms.images:
        raise MessageError("The terms of a secure sum are of no store or no image.")
    return terms


def encode_masked_summand(summand: MaskedSummand) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Return the fields and the tensor of a masked summand."""
    fields: dict[str, Value] = {
        "store": summand.store,
        "round": summand.round,
        "attempt": summand.attempt,
        "seconds": float(summand.seconds),
    }
    return fields, {"short" if summand.vector.dtype is torch.int16 else "vector": summand.vector}


def decode_masked_summand(store: str, reader: RecordReader) -> MaskedSummand:
    """Read back a masked summand of `store`. Raises MessageError."""
    dtype = torch.int16 if reader.has_tensor("short") else torch.int32
    vector = reader.tensor("short" if dtype is torch.int16 else "vector", dtype, ndim=1)
    return MaskedSummand(
        store,
        reader.count("round"),
        reader.count("attempt"),
        vector,
        reader.number("seconds"),
    )
