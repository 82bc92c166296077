"""A service under load, while it stops, and with a new model: nothing depends on how fast it is."""

import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from fedshelf.client.service.requests.limits import ServiceLimits
from tests.helpers.deployed import wait_for
from tests.helpers.services import RunningService, coloured, running_service

RED = coloured(200, 0, 0)


def post(running: RunningService) -> httpx.Response:
    with running.client() as client:
        return client.post("/v1/classify", content=RED)


def held(running: RunningService) -> int:
    return running.service.classifier.photos_held


def test_photos_that_wait_while_a_batch_runs_are_the_next_batch(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, ThreadPoolExecutor(8) as pool:
        running.predictor.gate.clear()
        answers = [pool.submit(post, running)]
        wait_for(lambda: running.predictor.batches == [1])
        answers += [pool.submit(post, running) for _ in range(5)]
        wait_for(lambda: held(running) == 6)
        batcher = running.service.classifier._batcher
        wait_for(lambda: len(batcher._waiting) == 5)
        running.predictor.gate.set()
        assert [answer.result().status_code for answer in answers] == [200] * 6
        assert running.predictor.batches == [1, 5]


def test_a_crowd_is_told_to_come_again(tmp_path: Path) -> None:
    limits = ServiceLimits(max_photos_held=2)
    with running_service(tmp_path, limits) as running, ThreadPoolExecutor(8) as pool:
        running.predictor.gate.clear()
        answers = [pool.submit(post, running) for _ in range(2)]
        wait_for(lambda: held(running) == 2)
        refused = post(running)
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        running.predictor.gate.set()
        assert [answer.result().status_code for answer in answers] == [200] * 2
        assert post(running).status_code == 200


def test_a_client_that_left_is_dropped_from_the_batch(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, ThreadPoolExecutor(8) as pool:
        running.predictor.gate.clear()
        first = pool.submit(post, running)
        wait_for(lambda: running.predictor.batches == [1])
        batcher = running.service.classifier._batcher
        address = httpx.URL(running.url)
        leaving = socket.create_connection((address.host, address.port or 0))
        head = (
            f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(RED)}\r\n\r\n"
        )
        leaving.sendall(head.encode() + RED)
        wait_for(lambda: len(batcher._waiting) == 1)
        leaving.close()
        wait_for(lambda: not batcher._waiting[0].asked.is_wanted())
        running.predictor.gate.set()
        assert first.result().status_code == 200
        wait_for(lambda: held(running) == 0)
        assert running.predictor.batches == [1]


def test_an_answer_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    with running_service(tmp_path, ServiceLimits(answer_seconds=0.05)) as running:
        running.predictor.gate.clear()
        late = post(running)
        assert late.status_code == 503
        assert late.headers["retry-after"] == "1"
        assert held(running) == 0


def test_one_that_stops_answers_what_it_holds_and_refuses_the_rest(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, ThreadPoolExecutor(8) as pool:
        running.predictor.gate.clear()
        answers = [pool.submit(post, running) for _ in range(3)]
        wait_for(lambda: held(running) == 3)
        running.stop()
        wait_for(lambda: running.server._access.is_stopping)
        refused = post(running)
        assert refused.status_code == 503
        assert refused.json()["detail"] == "The service is stopping."
        assert int(refused.headers["retry-after"]) >= 1
        with running.client() as client:
            assert client.get("/v2/health/live").status_code == 200
            assert client.get("/v2/health/ready").status_code == 503
        running.predictor.gate.set()
        assert [answer.result().status_code for answer in answers] == [200] * 3
        running.thread.join(60)
        assert not running.thread.is_alive()


def test_a_new_model_is_taken_up_and_no_request_is_lost(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, ThreadPoolExecutor(8) as pool:
        before = post(running).json()["model"]["version"]
        running.predictor.gate.clear()
        held_request = pool.submit(post, running)
        wait_for(lambda: running.predictor.batches == [1, 1])
        (tmp_path / "colours.onnx").write_bytes(b"another model")
        running.loop.call_soon_threadsafe(running.service.model.reload)
        wait_for(lambda: running.service.model.reloads == 1)
        running.predictor.gate.set()
        assert held_request.result().json()["model"]["version"] == before
        assert post(running).json()["model"]["version"] != before


def test_changed_files_are_noticed_without_a_signal(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, running.client() as client:
        (tmp_path / "colours.onnx").write_bytes(b"another model")
        version = running.service.model.current.version
        wait_for(lambda: client.get("/v1/model").json()["version"] != version)


def test_a_slow_body_is_given_up(tmp_path: Path) -> None:
    with running_service(tmp_path, ServiceLimits(stall_seconds=0.05)) as running:
        assert b" 408 " in _answer(running, b"Content-Length: 100\r\n\r\nhalf")


def test_a_slow_head_is_given_up(tmp_path: Path) -> None:
    with running_service(tmp_path, ServiceLimits(head_seconds=0.05)) as running:
        assert b" 408 " in _answer(running, b"")


def test_too_many_connections_are_refused(tmp_path: Path) -> None:
    with running_service(tmp_path, ServiceLimits(max_connections=1)) as running:
        address = httpx.URL(running.url)
        with socket.create_connection((address.host, address.port or 0)):
            assert b" 503 " in _answer(running, b"")


def test_a_body_is_bounded_while_it_is_read(tmp_path: Path) -> None:
    """One that declares its length, and one that does not."""
    with running_service(tmp_path, ServiceLimits(max_body_bytes=1000)) as running:
        assert b" 413 " in _answer(running, b"Content-Length: 1001\r\n\r\n")
        chunk = b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + bytes(500)
        more = b"\r\n1f5\r\n" + bytes(501) + b"\r\n"
        assert b" 413 " in _answer(running, chunk + more)


def test_all_bodies_together_are_bounded(tmp_path: Path) -> None:
    limits = ServiceLimits(max_held_bytes=len(RED) + 10)
    with running_service(tmp_path, limits) as running, ThreadPoolExecutor(2) as pool:
        running.predictor.gate.clear()
        answer = pool.submit(post, running)
        wait_for(lambda: running.predictor.batches == [1])
        assert post(running).status_code == 429
        running.predictor.gate.set()
        assert answer.result().status_code == 200


@pytest.mark.parametrize("given", ["", "Bearer wrong", "Basic {}", "Bearer {}x", "{}"])
def test_a_key_is_needed_where_there_is_one(tmp_path: Path, given: str) -> None:
    key = "k" * 32
    with running_service(tmp_path, key=key) as running, running.client() as client:
        assert client.post("/v1/classify", content=RED).status_code == 200
        headers = {"authorization": given.format(key)}
        refused = client.post("/v1/classify", content=RED, headers=headers)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"
        assert client.get("/v2/health/ready", headers=headers).status_code == 200


def test_other_host_names_are_refused_without_keys(tmp_path: Path) -> None:
    """A page of another site whose name leads to this machine must not read answers."""
    with running_service(tmp_path) as running, running.client() as client:
        assert client.get("/v1/model", headers={"host": "evil.example"}).status_code == 400
        assert client.get("/v1/model", headers={"host": "localhost:1"}).status_code == 200


def _answer(running: RunningService, sent: bytes) -> bytes:
    """The answer to a request that is sent slowly or wrongly."""
    address = httpx.URL(running.url)
    with socket.create_connection((address.host, address.port or 0), timeout=60) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n" + sent)
        return connection.recv(1000)
