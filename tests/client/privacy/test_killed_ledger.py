"""A store that is killed at any moment has counted all that it has sent."""

import os
import random
import signal
from collections.abc import Iterator
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from flwr.app import RecordDict
from flwr.proto.fleet_pb2 import PushMessagesRequest

from fedshelf.client.audit import AUDIT_FILE
from fedshelf.client.audit.verify import entries, verify
from fedshelf.client.connection.framing import OutgoingMessage
from fedshelf.client.policy.policy import Policy
from fedshelf.client.privacy.audited_state import audited_hash
from fedshelf.client.privacy.charges import Charge, chain_hashes
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.privacy.accountant import divergences
from fedshelf.common.protocol.messages import Update
from fedshelf.common.protocol.serialization import encode_result

POLICY = Policy(epsilon=1000.0, counts="none", classes=("hat",))
MOST_SECONDS = 0.1  # until a process is killed


def answer_orders(home: Path, first: int, pipe: Connection) -> None:
    """Charge, record and "send" one update after another, as a store does, until killed."""
    ledger = Ledger(home, POLICY.privacy_limits)
    outgoing = OutgoingMessage(PushMessagesRequest(), {}, "c" * 64)
    with SessionRecorder(home, POLICY) as recorder:
        for number in count(first):
            ledger.charge(Charge("epsilon", str(number), str(number), "run", number, 9.0, 0.1, 5))
            update = encode_result(Update("oslo", number, torch.zeros(2), 7, 0.5, 1.0))
            recorder.record_sending(update, outgoing, RecordDict())
            pipe.send(number)


def received(pipe: Connection) -> Iterator[int]:
    """Yield the numbers of all answers that left a process before it was killed."""
    try:
        while True:
            yield pipe.recv()
    except EOFError:
        return


def kill_again_and_again(home: Path, kills: int) -> None:
    """Kill stores at random moments; the next one is asked again for the last order."""
    generator = random.Random(kills)
    divergences(9.0, 0.1)  # kept for all processes
    context = get_context("fork")
    sent: list[int] = []
    for kill in range(kills):
        ours, theirs = context.Pipe(duplex=False)
        first = max(sent, default=1)
        process = context.Process(target=answer_orders, args=(home, first, theirs))
        process.start()
        theirs.close()
        if kill % 2:  # else it is killed soon after its start
            sent += [ours.recv(), ours.recv()]
        process.join(generator.uniform(0, MOST_SECONDS))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        sent += received(ours)
        ours.close()
        charges = Ledger(home, POLICY.privacy_limits).charges()  # neither damaged nor set back
        charged = [charge.round for charge in charges]
        assert charged == list(range(1, len(charged) + 1)), "an order was left out or counted twice"
        assert len(charged) >= max(sent, default=0), "an answer left that was not counted"
    assert max(sent) > kills / 2
    states = [line.sha256 for line in entries(home / AUDIT_FILE) if line.event == "charged"]
    assert states == chain_hashes(charges)[1:][: len(states)]
    assert audited_hash(home) == states[-1]
    assert not verify(home / AUDIT_FILE).fault


def test_kills_never_undercount(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 12)


@pytest.mark.slow
def test_two_hundred_kills_never_undercount(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 200)
