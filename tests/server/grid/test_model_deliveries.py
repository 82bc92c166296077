"""A model that stores were given and whose round was taken back is replaced at them, and they are
told.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from rich.console import Console

from fedshelf.client.connection.framing import MessageHeader
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.handler import handle_order
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.client.worker.delivered_models import DeliveredModels
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.errors import RunError
from fedshelf.common.protocol.serialization import encode_order
from fedshelf.server.grid import model_distribution, outbox
from fedshelf.server.grid.model_deliveries import ModelDeliveries, deliver_only
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.monitor import terminal
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.given_models import GIVEN_FILE, spoilt_at
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.past_rounds import export_round
from fedshelf.server.results.run_directory import RunDirectory
from tests.helpers.by_hand import Notes
from tests.helpers.delivered_models import order_of
from tests.helpers.deployed import wait_for
from tests.helpers.grid_stores import Doubler, LossyGrid
from tests.helpers.past_run import filling, run_of, start_of

RECORD = {"round": 2, "stores": {}, "failed": {}, "seconds": {}, "bytes": {}, "train": {}}


class Federation:
    """A run of two rounds, with stores over real messages; `said` is what each store told its
    person.
    """

    def __init__(self, place: Path) -> None:
        self.grid = LossyGrid()
        self.notes = Notes()
        self.place = place
        start = start_of(run__rounds=9, data__dataset="stores").identified("a" * 32)
        self.config = start.plan.config
        self.path = run_of(place / "shops", start, rounds=(1, 2))
        self.state = TrainingState(2, torch.full_like(start.params, 2.0), {}, record=RECORD)
        self.directory = RunDirectory.open(self.path, self.config)
        for number in (1, 2):
            self.directory.append({**RECORD, "round": number})
        self.desk = RunMailbox(self.path)
        self.desk.directory.mkdir()
        self.said: dict[str, list[str]] = {}

    def joins(self, node: int, name: str) -> None:
        self.said.setdefault(name, [])
        models = DeliveredModels(name, self.place / name, 0, lambda _: None, self.said[name].append)
        app = ClientApp()
        frozen = FrozenCache(self.place / "frozen")

        @app.query()
        def handle(message: Message, _: Context) -> Message:
            return Message(
                handle_order(Doubler(name), message.content, frozen, models), reply_to=message
            )

        self.grid.apps[node] = app

    def deliveries(self) -> ModelDeliveries:
        """Those of a server's process that has just started."""
        runtime = GridRuntime(
            self.grid, self.config, "a" * 32, self.notes.note, reconnect_grace=0.0
        )
        wait_for(lambda: len(runtime.stores()) == len(self.grid.apps))
        return ModelDeliveries(
            self.config, self.directory, runtime, self.notes, lambda: False, self.desk
        )

    def take_back(self) -> TrainingState:
        """Round 2 is played again, and makes another model."""
        record = {**RECORD, "taken_back": {"store": "evil", "round": 2, "reason": "spoilt"}}
        again = replace(self.state, params=torch.full_like(self.state.params, 2.5), record=record)
        self.directory.take_back(2)
        self.directory.mend_history(record)
        return Checkpoints(self.path / "checkpoints", keep=9).put_back(again)

    def at(self, name: str) -> set[float]:
        return filling(self.place / name / "shops")


@pytest.fixture
def federation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Federation:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    for pause in ("PRESENCE_CHECK_SECONDS", "REPLIES_POLL_SECONDS"):
        monkeypatch.setattr(model_distribution, pause, 0.05)
    monkeypatch.setattr(outbox, "PROBE_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(
        "fedshelf.server.grid.runtime.PRESENCE_FRESH_SECONDS", 0.0
    )  # who has gone is seen at the next look
    return Federation(tmp_path)


def test_a_spoilt_model_is_replaced_at_once_and_at_who_comes_later(federation: Federation) -> None:
    federation.joins(10, "north")
    federation.joins(11, "south")
    deliveries = federation.deliveries()
    assert not deliveries.is_due(federation.state)
    federation.desk.ask_to_deliver()
    assert deliveries.is_due(federation.state)
    deliveries.do(federation.state)
    assert not deliveries.is_due(federation.state)
    assert federation.at("north") == federation.at("south") == {2.0}

    del federation.grid.apps[11]
    again = federation.take_back()
    assert deliveries.is_due(again), "nobody asked, but a store has a spoilt model"
    deliveries.do(again)
    assert (federation.at("north"), federation.at("south")) == ({2.5}, {2.0})
    assert [
        line for line in federation.said["north"] if "The server took back the model of run" in line
    ]
    told = "in place of that of round 2, which was taken back and which north, south got."
    assert [note for note in federation.notes.notes if note.endswith(told)]
    assert federation.notes.notes[-1].startswith(
        "A model that was taken back is still at south (of round 2);"
    )
    assert spoilt_at(read_json(federation.path / GIVEN_FILE)) == {"south": 2}
    assert RunReader(federation.path).look().spoilt_at == {"south": 2}
    assert not deliveries.is_due(again)

    federation.joins(12, "south")
    later = federation.deliveries()
    assert later.is_due(again)
    later.do(again)
    assert federation.at("south") == {2.5}
    assert spoilt_at(read_json(federation.path / GIVEN_FILE)) == {}
    assert not later.is_due(again)


def test_status_names_the_stores_that_have_a_spoilt_model(
    federation: Federation, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {
        "sha256": "0" * 64,
        "round": 7,
        "line": "",
        "stores": ["north", "süd 2"],
        "is_taken_back": True,
    }
    federation.directory.write(GIVEN_FILE, {"models": [given]})
    terminal.show(RunReader(federation.path).look(), Console(width=200))
    told = "A model that was taken back is still at north (of round 7), süd 2 (of round 7);"
    assert told in capsys.readouterr().out


def test_a_request_stands_until_it_is_done_whoever_dies_in_between(federation: Federation) -> None:
    federation.joins(10, "north")
    federation.desk.ask_to_deliver()
    assert federation.deliveries().is_due(federation.state)  # and the app dies
    with federation.desk.open(0.0):  # and the launcher, too
        deliveries = federation.deliveries()
    assert deliveries.is_due(federation.state)
    federation.desk.ask_to_deliver()  # while the first one is done
    deliveries.do(federation.state)
    assert federation.at("north") == {2.0}
    assert not deliveries.is_due(federation.state)


def test_a_finished_model_whose_round_was_taken_back_is_given_to_nobody(
    federation: Federation,
) -> None:
    export_round(federation.path, "last", federation.place / "model")
    for file in (federation.place / "model").iterdir():
        file.rename(federation.path / file.name)
    summary = {"status": "finished", "delivered_round": 2}
    (federation.path / "summary.json").write_text(json.dumps(summary))
    federation.deliveries().at_end(summary)
    federation.take_back()
    with pytest.raises(RunError, match="was taken back later, so no store gets this model"):
        deliver_only(
            federation.grid,
            federation.config,
            federation.directory,
            federation.desk,
            federation.notes,
            lambda: True,
        )


@pytest.mark.parametrize("recalled", [(), ("1" * 64,), ("1" * 64, "2" * 64)])
def test_the_audit_log_says_that_a_model_takes_one_back(
    tmp_path: Path, recalled: tuple[str, ...]
) -> None:
    content = encode_order(replace(order_of(), recalled=recalled))
    with SessionRecorder(tmp_path, Policy()) as recorder:
        recorder.record_received(MessageHeader("1", "c" * 64, "query", 1, 60.0, ()), content, 10)
    last = json.loads((tmp_path / "audit.jsonl").read_text().splitlines()[-1])
    assert (last["kind"], "takes back one that the run gave before" in last["why"]) == (
        "deliver",
        bool(recalled),
    )


def test_a_store_says_once_that_its_model_was_taken_back(tmp_path: Path) -> None:
    said: list[str] = []
    models: Callable[..., object] = DeliveredModels(
        "oslo", tmp_path, 0, lambda _: None, said.append
    ).receive
    before = order_of(value=1.0)
    after = order_of(value=2.0)
    models(before)
    said.clear()
    for order in (replace(after, content=None), after, after):
        models(replace(order, recalled=(before.sha256,)))
    assert [line for line in said if "took back the model of run" in line] == said[:1]
    assert "The model of run shops has arrived" in said[1]
