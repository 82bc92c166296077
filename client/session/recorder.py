"""Records of a store's session with the server: the audit log, and the amounts spent of the
policy's budgets.
"""

from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from flwr.app import RecordDict

from fedshelf.client.audit import AUDIT_FILE, AuditLog, AuditNote, Event
from fedshelf.client.connection.framing import MessageHeader, OutgoingMessage
from fedshelf.client.policy.budgets import USAGE_FILE, Usage
from fedshelf.client.policy.policy import Policy
from fedshelf.client.policy.traffic_budget import TrafficBudget
from fedshelf.client.privacy.audited_state import PRIVATE_TRAINING, audited_hash, charge_notes
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.common.protocol.probe import asks_for_noise, header_fields, recalls_models

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

_PURPOSES = {
    "train": "asked to train",
    "evaluate": "asked to evaluate the global model",
    "query": "asked what is here",
    "notice": "a message for the person at this machine",
    "probe": "asked whether an order has come",
    "update": "the weights after training",
    "sum": "asked for a step of a secure sum",
    "masked": "the weights after training, under masks",
    "sum-answer": "keys for a secure sum, or sealed shares of them",
    "evaluation": "counts of hits and misses, the loss, and, if asked, how sure the model was",
    "info": "how many images are here",
    "presence": "whether an order has come",
    "needs-frozen": "asked for weights that do not train",
    "deliver": "the model that a run delivers, or the offer of one",
    "receipt": "whether that model is kept here or has to be sent",
}
_RECALL_REASON = (
    "the model that a run delivers, or the offer of one; takes back one that the run gave before"
)
# answers that tell nothing of photos, and may leave whatever the ledger says
_FREE_KINDS = ("failure", "needs-frozen", "presence", "receipt")
# a notice is answered with an info that counts nothing
_NOTICE_ANSWER_REASON = "that the message has arrived"


class SessionRecorder:
    """A store's records, in its `home`; a context manager.

    Raises RunError if another process keeps them, OSError.

    Args:
        key: Of the store, which signs the audit log; None: it has none.
        told_seconds: Returns the part of a duration (s) that may leave.
        traffic: Its budgets of bytes.
    """

    def __init__(
        self, home: Path, policy: Policy, key: "EllipticCurvePrivateKey | None" = None
    ) -> None:
        self.told_seconds = policy.told_seconds
        self.traffic = TrafficBudget(policy, Usage(home / USAGE_FILE))
        self._log = AuditLog(home / AUDIT_FILE, key=key)
        self._log.record(AuditNote("policy", sha256=policy.sha256(), why="in force from here on"))
        self._delta = policy.delta
        self._ledger = Ledger(home, policy.privacy_limits)
        self._ledger_state = audited_hash(home)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._log.close()

    def record_joined(self, server: str) -> None:
        """Record that the connection to the server is open."""
        self._log.record(AuditNote("joined", why=server))

    def record_left(self) -> None:
        """Record that the connection is closed."""
        self._log.record(AuditNote("left"))

    def record_photo_change(self, sentence: str) -> None:
        """Record that the photos are not those of the last order. Raises OSError."""
        self._log.record(AuditNote("photos", why=sentence))

    def record_received(self, incoming: MessageHeader, content: RecordDict, size: int) -> None:
        """Record that a message of `size` bytes has come. Raises OSError if that cannot be
        written.
        """
        why = _RECALL_REASON if recalls_models(content) else ""
        if asks_for_noise(content):
            why = PRIVATE_TRAINING
        self._write("received", content, size, incoming.content_id, why)

    def record_unreadable(self, incoming: MessageHeader, why: str) -> None:
        """Record that something has come that is no message. Raises OSError."""
        self._log.record(AuditNote("received", "unreadable", sha256=incoming.content_id, why=why))

    def record_refusal(self, order: RecordDict, why: str) -> None:
        """Record that an order will not be carried out. Raises OSError."""
        fields = header_fields(order)
        self._log.record(
            AuditNote(
                "refused",
                str(fields.get("kind", "")),
                _run_id(fields),
                _round_number(fields),
                why=why,
            )
        )

    def record_unfetched(self, incoming: MessageHeader, why: str) -> None:
        """Record that a message was announced, but stays at the server. Raises OSError."""
        self._log.record(
            AuditNote(
                "refused", incoming.type, size=incoming.size, sha256=incoming.content_id, why=why
            )
        )

    def record_sending(
        self, content: RecordDict, outgoing: OutgoingMessage, order: RecordDict
    ) -> None:
        """Record that an answer to `order` is about to leave, and before it what was charged.

        Raises OSError, or StoreError if the ledger cannot be trusted: then it must not be sent.
        """
        if header_fields(content).get("kind") not in _FREE_KINDS:
            self._record_charges()
        why = _NOTICE_ANSWER_REASON if header_fields(order).get("kind") == "notice" else ""
        fields = header_fields(content)
        if fields.get("step") == "unmask":
            why = f"shares that open a sum of {fields.get('stores')} stores"
        self._write("sent", content, outgoing.size, outgoing.content_id, why)
        self.traffic.count_sent(outgoing.size)

    def _record_charges(self) -> None:
        """Record the charges that the ledger has, and the audit log has not."""
        for note in charge_notes(self._ledger.charges(), self._ledger_state, self._delta):
            self._log.record(note)
            self._ledger_state = note.sha256

    def _write(
        self, event: Event, content: RecordDict, size: int, sha256: str, why: str = ""
    ) -> None:
        fields = header_fields(content)
        kind = str(fields.get("kind", ""))
        why = (
            why
            or _PURPOSES.get(kind, "")
            or " ".join(str(fields[key]) for key in ("code", "detail") if fields.get(key))
        )
        self._log.record(
            AuditNote(event, kind, _run_id(fields), _round_number(fields), size, sha256, why)
        )


def _run_id(fields: dict[str, str | int]) -> str:
    return str(fields.get("run_id", ""))


def _round_number(fields: dict[str, str | int]) -> int:
    round_number = fields.get("round", 0)
    return round_number if isinstance(round_number, int) else 0
