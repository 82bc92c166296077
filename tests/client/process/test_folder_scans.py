"""A store's worker process lists its photos once; before each order it only looks for changes."""

import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from flwr.app import RecordDict

from fedshelf.client.identity.home import store_home
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.common.config import resolve
from fedshelf.common.images.decoding.content_digests import SETTLED_NS
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.protocol.serialization import Query, decode_result, encode_order
from tests.helpers.deployed import draw_photos, wait_for

# Python tells an audit hook of each directory that is opened. A worker process loads this file at
# its start, and writes down each time that the folder of one class is opened.
COUNT_OPENINGS = """
import os, sys

def count(event, arguments):
    if event == "os.scandir" and str(arguments[0]) == os.environ["COUNTED_FOLDER"]:
        file = os.open(os.environ["OPENINGS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, b"+")
        os.close(file)

sys.addaudithook(count)
"""
# a scan opens the folder of a class twice: to see whether it holds splits, and for its photos
SCAN = 2
LOOK = 1


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    store_home("oslo").mkdir(parents=True, exist_ok=True)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(COUNT_OPENINGS)
    photos = draw_photos(tmp_path / "photos", ["boot", "hat"], 20)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.setenv("OPENINGS", str(tmp_path / "openings"))
    monkeypatch.setenv("COUNTED_FOLDER", str(photos / "hat"))
    settle(photos)
    return photos


def settle(photos: Path) -> None:
    """Wait until a later change of any photo must show in its times."""
    newest = max(path.stat().st_ctime_ns for path in photos.glob("*/*"))
    wait_for(lambda: time.time_ns() - newest > SETTLED_NS)


def openings() -> int:
    return len(Path(os.environ["OPENINGS"]).read_bytes())


def ask(worker: WorkerProcess) -> StoreInfo:
    order: RecordDict = encode_order(Query("run", resolve({"data.image_size": 32})))
    info = decode_result(worker.carry_out(order))
    assert isinstance(info, StoreInfo), info
    return info


def test_photos_are_listed_once_until_they_change(photos: Path) -> None:
    with closing(WorkerProcess(WorkerSettings("oslo", photos, "cpu"), lambda _: None)) as worker:
        assert openings() == LOOK + SCAN, "at its start, for what `check` finds at once"
        first = ask(worker)
        after_first = openings()
        assert after_first - (LOOK + SCAN) == 2 * LOOK, "no scan"
        ask(worker)
        assert openings() - after_first == 2 * LOOK, "no scan"
        (photos / "hat" / "0.png").unlink()
        before_change = openings()
        changed = ask(worker)
        assert openings() - before_change == 2 * LOOK + SCAN
        total = first.num_examples + first.validation + first.test
        assert changed.num_examples + changed.validation + changed.test == total - 1
