"""The order that delivers a run's model to a store, and the store's answer, as parts of messages.

    server -- DeliverOrder without content --> store    an offer
    server <-- ModelReceipt ------------------ store    kept: it has the model; wanted: it has not
    server -- DeliverOrder with content -----> store    only if wanted
    server <-- ModelReceipt ------------------ store    kept

A large model is offered first, so that its bytes are sent only to a store that accepts the model
and lacks it. A model of a release comes with the other files of the release; its offer has the
envelope, which a store can check.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fedshelf.common.errors import MessageError
from fedshelf.common.names import CARD_FILE, ENVELOPE_FILE, ONNX_FILE, check_run_id, is_run_name
from fedshelf.common.protocol.probe import RECALLED_FIELD
from fedshelf.common.protocol.records import RecordReader, Value

# bytes of a model.json: 10,000 classes with long names have 2 MB each way
MAX_DESCRIPTION_BYTES = 4 * 2**20
MAX_RECALLED_MODELS = 100
# of a release, beside the two files of the model
RELEASE_FILES = (ENVELOPE_FILE, CARD_FILE, ONNX_FILE)
_CONTENT = "content"
_DESCRIPTION = "description"
_SHA256_PATTERN = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class DeliverOrder:
    """An order to keep the model that a run delivers.

    run_id: the identity of the run
    run: its name, by which the store calls the model; `common.names.is_run_name` holds
    network: the model's architecture
    description: the bytes of its `model.json`
    sha256: SHA-256 of the bytes of its `model.safetensors`, in hexadecimal
    size: number of these bytes
    content: these bytes; None: this is an offer, and the store answers if it wants them
    recalled: SHA-256 of models of this run that were delivered before, and whose rounds were taken
        back since
    release: the further files of the release that the model is of, by their names; of an offer the
        envelope alone; empty: it is of no release
    """

    run_id: str
    run: str
    network: str
    description: bytes = field(repr=False)
    sha256: str
    size: int
    content: bytes | None = field(default=None, repr=False)
    recalled: tuple[str, ...] = ()
    release: Mapping[str, bytes] = field(repr=False, default_factory=dict)

    @property
    def envelope_sha256(self) -> str | None:
        """SHA-256 of the release's envelope, in hexadecimal; None: the model is of no release."""
        if not self.release:
            return None
        return hashlib.sha256(self.release[ENVELOPE_FILE]).hexdigest()

    def offer(self) -> "DeliverOrder":
        """Return the offer of this model."""
        envelope = {ENVELOPE_FILE: self.release[ENVELOPE_FILE]} if self.release else {}
        return replace(self, content=None, release=envelope)


@dataclass(frozen=True)
class ModelReceipt:
    """A store's answer to a model or its offer.

    is_kept: True if the whole model is at the store; False if it has to be sent
    """

    store: str
    run_id: str
    sha256: str
    is_kept: bool


def encode_delivery(order: DeliverOrder) -> tuple[dict[str, Value], dict[str, Tensor]]:
    """Return the fields and the tensors of an order: each is bytes, uint8 [number of bytes]."""
    header: dict[str, Value] = {
        "run_id": order.run_id,
        "run": order.run,
        "network": order.network,
        "sha256": order.sha256,
        "size": order.size,
        RECALLED_FIELD: " ".join(order.recalled),
    }
    tensors = {_DESCRIPTION: _tensor_of(order.description)}
    if order.content is not None:
        tensors[_CONTENT] = _tensor_of(order.content)
    tensors |= {name: _tensor_of(content) for name, content in order.release.items()}
    return header, tensors


def decode_delivery(reader: RecordReader) -> DeliverOrder:
    """Read back an order from its `encode_delivery`.

    Raises:
        MessageError: fields that no honest server sends
    """
    run_id = reader.parsed("run_id", check_run_id)
    run = reader.text("run")
    if not is_run_name(run):
        raise MessageError(
            "Field 'run' is not the name of a run; a folder at the store would be called so."
        )
    network = reader.text("network")
    sha256 = reader.parsed("sha256", _check_sha256)
    size = reader.count("size")
    recalled = reader.parsed(RECALLED_FIELD, _parse_recalled)
    description = _take_bytes(reader, _DESCRIPTION)
    if len(description) > MAX_DESCRIPTION_BYTES:
        raise MessageError(
            f"A model's description has {len(description)} bytes; at most {MAX_DESCRIPTION_BYTES}"
            " fit."
        )
    content = _take_bytes(reader, _CONTENT) if reader.has_tensor(_CONTENT) else None
    release = {name: _take_bytes(reader, name) for name in RELEASE_FILES if reader.has_tensor(name)}
    if release and ENVELOPE_FILE not in release:
        raise MessageError(f"A release comes without its {ENVELOPE_FILE}.")
    return DeliverOrder(run_id, run, network, description, sha256, size, content, recalled, release)


def encode_receipt(receipt: ModelReceipt) -> Mapping[str, Value]:
    """Return the fields of an answer."""
    state = "kept" if receipt.is_kept else "wanted"
    return {
        "store": receipt.store,
        "run_id": receipt.run_id,
        "sha256": receipt.sha256,
        "state": state,
    }


def decode_receipt(store: str, reader: RecordReader) -> ModelReceipt:
    """Read back an answer of `store` from its `encode_receipt`.

    The caller has taken the field "store" already.

    Raises:
        MessageError: fields that no honest store sends
    """
    run_id = reader.parsed("run_id", check_run_id)
    sha256 = reader.parsed("sha256", _check_sha256)
    state = reader.choice("state", ("kept", "wanted"))
    return ModelReceipt(store, run_id, sha256, is_kept=state == "kept")


def _tensor_of(content: bytes) -> Tensor:
    """Return bytes as a tensor: uint8 [number of bytes]."""
    # frombuffer refuses an empty buffer
    if not content:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def _take_bytes(reader: RecordReader, name: str) -> bytes:
    return reader.tensor(name, torch.uint8, ndim=1).numpy().tobytes()


def _check_sha256(text: str) -> str:
    """Return a SHA-256 in hexadecimal. Raises ValueError."""
    if not _SHA256_PATTERN.fullmatch(text):
        raise ValueError("expected the 64 hexadecimal digits of a SHA-256")
    return text


def _parse_recalled(text: str) -> tuple[str, ...]:
    """Return the hashes in a text, separated by blanks. Raises ValueError."""
    hashes = tuple(text.split())
    if len(hashes) > MAX_RECALLED_MODELS:
        raise ValueError(
            f"{len(hashes)} models are taken back; expected at most {MAX_RECALLED_MODELS}"
        )
    return tuple(map(_check_sha256, hashes))
