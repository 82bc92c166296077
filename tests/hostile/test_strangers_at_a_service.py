"""`flower-client serve` as a real process, with an ONNX file, among honest and hostile clients."""

import itertools
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.hostile_photos import hostile_requests
from tests.helpers.exported_models import save_exported
from tests.helpers.services import coloured
from tests.helpers.serving_process import Serving, serving_process

PHOTO = coloured(200, 90, 20, "JPEG", side=320)
KINDS = 22  # of hostile requests
MOST_MEMORY_KB = 150_000_000 // 1024


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    _, model = save_exported(tmp_path / "model")
    with serving_process(model) as started:
        yield started


def test_hostile_requests_get_4xx_while_honest_ones_are_answered(serving: Serving) -> None:
    address = httpx.URL(serving.url)
    place = (address.host, address.port or 0)
    stop = threading.Event()
    honest: list[int] = []

    def ask() -> None:
        while not stop.is_set():
            honest.append(serving.classify(PHOTO).status_code)

    asking = threading.Thread(target=ask)
    slow = [socket.create_connection(place, timeout=60) for _ in range(5)]
    for connection in slow:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n")
    slow[0].sendall(b"Content-Length: 1000\r\n\r\nhalf")
    asking.start()
    statuses = {}
    for request in itertools.islice(hostile_requests(PHOTO), 2 * KINDS):
        with socket.create_connection(place, timeout=60) as connection:
            connection.sendall(request.sent)
            statuses[request.kind] = int(connection.recv(4096).split()[1])
    stop.set()
    asking.join()
    assert len(statuses) == KINDS
    assert {kind: status for kind, status in statuses.items() if not 400 <= status < 500} == {}
    assert set(honest) == {200}
    with httpx.Client(base_url=serving.url, trust_env=False) as client:
        assert client.get("/v2/health/ready").status_code == 200
        assert "fedshelf_photos_held 0.0" in client.get("/metrics").text
    for connection in slow:
        assert int(connection.recv(4096).split()[1]) == 408
        connection.close()


def test_it_runs_without_pytorch_and_stays_small(serving: Serving) -> None:
    assert serving.classify(PHOTO).status_code == 200
    process = Path(f"/proc/{serving.process.pid}")
    if not process.exists():
        pytest.skip("no /proc on this system")
    libraries = (process / "maps").read_text()
    assert "onnxruntime" in libraries
    assert "torch" not in libraries
    memory = next(
        line for line in (process / "status").read_text().splitlines() if line.startswith("VmRSS")
    )
    assert int(memory.split()[1]) < MOST_MEMORY_KB


def test_signals_reload_and_end_it_in_order(serving: Serving, tmp_path: Path) -> None:
    serving.process.send_signal(signal.SIGHUP)
    assert "answers" in serving.says()
    (tmp_path / "model" / "model.onnx").write_bytes(b"no model")
    serving.process.send_signal(signal.SIGHUP)
    assert serving.says().startswith("The model stays the one before.")
    assert serving.classify(PHOTO).status_code == 200
    serving.process.send_signal(signal.SIGTERM)
    assert serving.process.wait(60) == 0
    assert serving.says() == ""
