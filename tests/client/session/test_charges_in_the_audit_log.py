"""Each charge has a line in the audit log, before anything that it paid for leaves."""

from pathlib import Path

import pytest
import torch
from flwr.app import RecordDict
from flwr.proto.fleet_pb2 import PushMessagesRequest

from fedshelf.client.audit import AUDIT_FILE, AuditEntry
from fedshelf.client.audit.verify import entries, verify
from fedshelf.client.connection.framing import OutgoingMessage
from fedshelf.client.failures import StoreError
from fedshelf.client.policy.policy import Policy
from fedshelf.client.privacy.audited_state import audited_hash
from fedshelf.client.privacy.charges import LEDGER_FILE, Charge, chain_hashes
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.protocol.failures import make_failure
from fedshelf.common.protocol.messages import Update
from fedshelf.common.protocol.serialization import encode_result

POLICY = Policy(epsilon=8.0, counts="none", classes=("hat",))
UPDATE = encode_result(Update("oslo", 1, torch.zeros(2), 7, 0.5, 1.0))
FAILURE = encode_result(make_failure("oslo", "policy", "epsilon"))
OUTGOING = OutgoingMessage(PushMessagesRequest(), {}, "c" * 64)


def charge(home: Path, number: int) -> Charge:
    charge = Charge("epsilon", str(number), str(number), "run", number, 2.0, 1.0, 1)
    Ledger(home, POLICY.privacy_limits).charge(charge)
    return charge


def send(home: Path, *answers: RecordDict) -> None:
    with SessionRecorder(home, POLICY) as recorder:
        for answer in answers:
            recorder.record_sending(answer, OUTGOING, RecordDict())


def logged(home: Path) -> list[AuditEntry]:
    return [entry for entry in entries(home / AUDIT_FILE) if entry.event in ("charged", "sent")]


def test_a_charge_has_one_line_with_its_noise_and_the_total(tmp_path: Path) -> None:
    charges = [charge(tmp_path, 1), charge(tmp_path, 2)]
    send(tmp_path, FAILURE, UPDATE, UPDATE)
    charges.append(charge(tmp_path, 3))
    send(tmp_path, UPDATE)
    events = [entry.event for entry in logged(tmp_path)]
    assert events == ["sent", "charged", "charged", "sent", "sent", "charged", "sent"]
    lines = [entry for entry in logged(tmp_path) if entry.event == "charged"]
    assert [(line.kind, line.run, line.round) for line in lines] == [
        ("epsilon", "run", number) for number in (1, 2, 3)
    ]
    assert lines[0].why == "noise 2, rate 1, steps 1; epsilon 1.993 so far, delta 1e-05"
    assert [line.sha256 for line in lines] == chain_hashes(charges)[1:]
    assert audited_hash(tmp_path) == chain_hashes(charges)[-1]
    assert not verify(tmp_path / AUDIT_FILE).fault


def test_a_running_store_sends_no_update_without_its_ledger(tmp_path: Path) -> None:
    charge(tmp_path, 1)
    send(tmp_path, UPDATE)
    (tmp_path / LEDGER_FILE).unlink()
    with pytest.raises(StoreError, match="is missing"):
        send(tmp_path, UPDATE)
    send(tmp_path, FAILURE)
    assert [entry.event for entry in logged(tmp_path)] == ["charged", "sent", "sent"]


def test_a_line_that_was_changed_tells_of_no_state(tmp_path: Path) -> None:
    charge(tmp_path, 1)
    state = chain_hashes([charge(tmp_path, 1)])[-1]
    send(tmp_path, UPDATE)
    path = tmp_path / AUDIT_FILE
    assert audited_hash(tmp_path) == state
    path.write_bytes(path.read_bytes().replace(b"noise 2", b"noise 9"))
    assert audited_hash(tmp_path) == "0" * 64
