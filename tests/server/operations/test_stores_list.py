"""`flower-server stores list`: the chain's word on each store, and its run's."""

import os
from pathlib import Path

import pytest

from fedshelf.common.errors import RunError
from fedshelf.common.protocol.kit import Kit
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.last_run import hold_server_lock, last_run
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.ipc.store_status import StoreStatusFile
from fedshelf.server.operations.listing_output import to_json
from fedshelf.server.operations.stores_list import listing, show
from tests.helpers.live_runs import BEGAN, LiveRun


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    chain = Chain.make(tmp_path / "chain" / "server", "shop.example", 9092)
    for name in ("lyon", "oslo", "rome"):
        kit = Kit.read(chain.write_kit(name))
        if name != "rome":
            chain.stores.enrol(name, str(kit.code), f"key of {name}")
    return chain


@pytest.fixture
def run(chain: Chain, tmp_path: Path) -> LiveRun:
    run = LiveRun(tmp_path / "runs" / "spring", stores=["lyon", "oslo"], quorum=1)
    with hold_server_lock(chain.directory, run.path):
        pass
    run.joined()
    run.play(1, 4)
    return run


def test_without_a_run_there_is_no_word_of_presence(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    found = listing(chain.directory)
    assert (found.run, found.status) == (None, None)
    assert [(row.store, row.state, row.presence, row.last_seen) for row in found.stores] == [
        ("lyon", "enrolled", "", None),
        ("oslo", "enrolled", "", None),
        ("rome", "invited", "", None),
    ]
    show(found)
    assert "No server has worked with these credentials yet" in capsys.readouterr().out


def test_a_run_says_who_is_there_and_since_when_who_is_not(
    chain: Chain, run: LiveRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run.tell(lyon={"state": "away", "version": "0.1.0"}, oslo={"version": "0.2.0"})
    with run.at_work():
        found = listing(chain.directory)
    lyon, oslo, rome = found.stores
    assert (found.run, found.status) == (str(run.path), "training")
    assert (lyon.presence, lyon.last_seen, lyon.version) == ("away", BEGAN, "0.1.0")
    assert (oslo.presence, oslo.version, oslo.last_round) == ("ready", "0.2.0", 4)
    assert oslo.last_seen
    assert oslo.last_seen > BEGAN
    assert (rome.presence, rome.last_seen, rome.rounds) == ("", None, 0)
    used = sum("oslo" in record["stores"] for record in run.records[:4])
    assert (oslo.rounds, oslo.failures) == (
        used,
        sum("oslo" in record["failed"] for record in run.records[:4]),
    )
    assert '"last_round": 4' in to_json(found)
    show(found)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "now" in lines["oslo"]
    assert "never" in lines["rome"]


def test_after_the_end_who_was_there_was_seen_then(chain: Chain, run: LiveRun) -> None:
    run.tell()
    run.end()
    lyon, oslo, _ = listing(chain.directory).stores
    assert (lyon.presence, oslo.presence) == ("", "")
    ended = max(path.stat().st_mtime for path in run.path.rglob("*") if path.is_file())
    assert lyon.last_seen
    assert BEGAN < lyon.last_seen <= ended


def test_a_delivery_after_the_run_forgets_nobody(
    chain: Chain, run: LiveRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run.tell(lyon={"version": "0.2.0"})
    run.end()
    os.utime(run.flower / "stores.json", (BEGAN + 900, BEGAN + 900))
    desk = RunMailbox(run.path)
    with desk.open(BEGAN + 5000, only_delivers=True):
        store_status = StoreStatusFile.of_earlier_run(desk.store_status)
        store_status.put("oslo", "ready")
        store_status.flush(at_once=True)
        lyon, oslo, _ = listing(chain.directory).stores
    assert (lyon.last_seen, lyon.version) == (BEGAN + 900, "0.2.0")
    assert oslo.last_seen
    assert oslo.last_seen > BEGAN + 5000
    after, _, never = listing(chain.directory).stores
    assert (after.last_seen, never.last_seen) == (BEGAN + 900, None)
    show(listing(chain.directory))
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert ["never" in lines[name] for name in ("lyon", "oslo", "rome")] == [False, False, True]


def test_a_chain_has_one_server_at_a_time(chain: Chain, run: LiveRun, tmp_path: Path) -> None:
    other = tmp_path / "runs" / "autumn"
    with hold_server_lock(chain.directory, run.path):
        told = rf"Another flower-server works with .*, in {run.path}; a chain's stores"
        with pytest.raises(RunError, match=told), hold_server_lock(chain.directory, other):
            raise AssertionError("two servers at once")
        assert last_run(chain.directory) == run.path
    with hold_server_lock(chain.directory, other):
        assert last_run(chain.directory) is None, "that run is not there yet"


def test_a_run_that_is_gone_is_none(chain: Chain, run: LiveRun) -> None:
    assert last_run(chain.directory) == run.path
    (run.path / "config.toml").unlink()
    assert last_run(chain.directory) is None
    (chain.directory / "run.json").write_text("[]")
    assert last_run(chain.directory) is None
