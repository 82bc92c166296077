"""A server that means harm can make a store train or refuse, nothing else."""

import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.proto.fleet_pb2 import PushMessagesRequest

from fedshelf.client.audit.verify import entries
from fedshelf.client.connection.framing import MessageHeader, OutgoingMessage
from fedshelf.client.connection.response_limits import MAX_RESPONSE_BYTES, limit_responses
from fedshelf.client.failures import StoreError
from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.disclosure import OpenDisclosure
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.console import configure_logging
from fedshelf.client.process.handler import handle_order
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.frozen_cache import MAX_FROZEN_VECTORS, FrozenCache
from fedshelf.client.worker.state_store import KEPT_RUNS, StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.config import flatten, resolve
from fedshelf.common.errors import DataError, MessageError
from fedshelf.common.images.cache.cache import open_pixels
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Failure,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.serialization import (
    Notice,
    Query,
    decode_result,
    encode_order,
    encode_result,
    frozen_sha256,
)
from fedshelf.common.training.fit import Network
from tests.helpers.by_hand import order_of
from tests.helpers.deployed import draw_photos

SPEC = ModelSpec("niid-cnn", ("boot", "hat"), 16, 3, (0.5,) * 3, (0.25,) * 3)
CONFIG = resolve(
    {"data.image_size": 16, "strategy.name": "fedprox", "messages.compression": "int8"}
)
PLAN = Plan("run-1", CONFIG, SPEC)
SECRET = "salary-list"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store's machine, with photos and something that is nobody's business."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    (tmp_path / "home").mkdir()
    draw_photos(tmp_path / "photos", {"boot": 12, "hat": 12})
    (tmp_path / SECRET).write_text("nobody's business")
    return tmp_path


def worker_in(home: Path, policy: Policy | None = None) -> PolicyWorker:
    policy = policy or Policy()
    trainer = Trainer(torch.device("cpu"), StateStore(home / "home" / "states"))
    guard = PolicyEnforcer(policy, Usage(home / "home" / "usage.json"))
    return PolicyWorker(
        StoreWorker("oslo", FolderSource("oslo", home / "photos", policy), trainer),
        guard,
        OpenDisclosure(policy),
    )


def params() -> torch.Tensor:
    return Network(SPEC, torch.device("cpu")).vector.clone()


def told(home: Path, content: RecordDict, policy: Policy | None = None) -> RecordDict:
    return handle_order(worker_in(home, policy), content, FrozenCache(home / "cache" / "frozen"))


def files(place: Path) -> set[Path]:
    return {path.relative_to(place) for path in place.rglob("*") if path.is_file()}


@pytest.mark.parametrize("run_id", ["../../evil", "/tmp/evil", "..", "", "x" * 65, "a\n"])
def test_a_run_is_no_path(home: Path, run_id: str) -> None:
    order = encode_order(TrainOrder(replace(PLAN, run_id=run_id), 1, params()))
    before = files(home)
    result = decode_result(told(home, order))
    assert isinstance(result, Failure)
    assert result.code == "invalid"
    assert files(home) == before


def test_a_store_writes_in_its_own_places_only(home: Path) -> None:
    order = TrainOrder(PLAN, 1, params())
    update = decode_result(told(home, encode_order(order)), order)
    assert isinstance(update, Update)
    new = {path.parts[0] for path in files(home) - {Path(SECRET)}}
    assert new == {"photos", "home", "cache"}


PATHS = {
    "data.dataset": "{}", "data.partition": "folder", "model.weights": "{}/x.safetensors",
    "run.out": "{}", "run.name": "../{}", "evaluation.test_data": "{}",
    "run.ray_address": "evil.example:1", "run.engine": "ray", "run.device": "cuda:7",
}  # fmt: skip


@pytest.mark.parametrize("key", PATHS)
def test_settings_that_name_places_reach_no_place(home: Path, key: str) -> None:
    """Of a run's settings a store uses those of data (how photos are decoded), training, strategy
    and messages.
    """
    odd = resolve(flatten(CONFIG), {key: PATHS[key].format(home / SECRET)})
    honest, forged = (
        decode_result(
            told(home, encode_order(TrainOrder(replace(PLAN, config=config), 1, params()))),
            TrainOrder(PLAN, 1, params()),
        )
        for config in (CONFIG, odd)
    )
    assert isinstance(honest, Update)
    assert isinstance(forged, Update)
    assert torch.equal(honest.params, forged.params)
    assert not list(home.glob("salary-list/*"))


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("os:system", "policy"),  # has the form of own code, which the policy would have to list
        ("fedshelf.common.system.files:write_text", "policy"),
        ("cnn:build", "policy"),
        ("../x", "refused"),
        ("torch.hub", "refused"),
    ],
)
def test_a_network_is_named_not_imported(home: Path, name: str, code: str) -> None:
    result = decode_result(
        told(
            home,
            encode_order(TrainOrder(replace(PLAN, spec=replace(SPEC, name=name)), 1, params())),
        )
    )
    assert isinstance(result, Failure)
    assert result.code == code


def test_what_goes_wrong_is_told_without_paths_and_texts(home: Path) -> None:
    shutil.rmtree(home / "photos")
    orders = (
        TrainOrder(PLAN, 1, params()), TrainOrder(PLAN, 1, torch.ones(3)),
        EvaluateOrder(PLAN, 1, torch.ones(3)),
        TrainOrder(replace(PLAN, config=resolve({"data.image_size": 0})), 1, params()),
        Query("run-1", CONFIG),
        TrainOrder(replace(PLAN, spec=replace(SPEC, classes=("x", "y"))), 1, params()),
    )  # fmt: skip
    for order in orders:
        record = told(home, encode_order(order))
        everything = " ".join(str(value) for value in dict(record["header"]).values())
        assert isinstance(decode_result(record), Failure)
        assert str(home) not in everything
        assert "photos" not in everything
        assert "boot" not in everything


def test_class_names_do_not_leave_against_the_policy(home: Path) -> None:
    policy = Policy(class_names=False, metrics="accuracy")
    orders = (
        Query("run-1", CONFIG), EvaluateOrder(PLAN, 1, params()), TrainOrder(PLAN, 1, params()),
        Notice("which?"),
        TrainOrder(replace(PLAN, spec=replace(SPEC, classes=("x", "y"))), 1, params()),
        EvaluateOrder(replace(PLAN, spec=replace(SPEC, classes=("boot", "y"))), 1, params()),
    )  # fmt: skip
    for order in orders:
        record = told(home, encode_order(order), policy)
        assert not any(name in str(dict(record["header"])) for name in ("boot", "hat"))
        if isinstance(order, Query):
            info = decode_result(record)
            assert isinstance(info, StoreInfo)
            assert (info.counts, info.undisclosed_images > 0) == ({}, True)


def test_frozen_parameters_do_not_fill_the_disk(tmp_path: Path) -> None:
    cache = FrozenCache(tmp_path)
    for number in range(MAX_FROZEN_VECTORS + 3):
        vector = torch.full((9,), float(number))
        cache.put(frozen_sha256(vector), vector)
        assert len(files(tmp_path)) <= MAX_FROZEN_VECTORS
    assert cache.get("../../etc/passwd", SPEC) is None


def test_states_of_invented_runs_do_not_fill_the_disk(tmp_path: Path) -> None:
    states = StateStore(tmp_path)
    for number in range(KEPT_RUNS + 5):
        states.save(order_of(1, f"run-{number}"), "oslo", {"a": torch.ones(1)})
    assert len(files(tmp_path)) == KEPT_RUNS
    assert states.load(f"run-{KEPT_RUNS + 4}", "oslo", 2)


def test_sizes_of_images_do_not_fill_the_disk(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted((home / "photos").rglob("*.*"))
    for size in range(8, 16):
        open_pixels(home / "photos", paths, PixelFormat(size))
    assert len(list((home / "cache" / "images").glob("*.pixels"))) == 4
    monkeypatch.setattr("fedshelf.common.images.cache.pixel_file._RESERVED_BYTES", 2**60)
    with pytest.raises(DataError, match="Make room there"):
        open_pixels(home / "photos", paths, PixelFormat(99))
    assert len(list((home / "cache" / "images").glob("*.pixels"))) == 4


def test_words_from_a_server_steer_no_terminal(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("fedshelf")
    configure_logging()
    try:
        told(home, encode_order(Notice("\x1b]0;owned\x07\x1b[2Jhello\nLeft.\r\u202e" + "x" * 9999)))
        told(home, RecordDict({"\x1b[31m": ConfigRecord({}), "header": ArrayRecord({})}))
    finally:
        log.handlers.clear()
    said = capsys.readouterr().err
    assert "hello\ufffdLeft." in said
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \S", line) for line in said.splitlines())
    assert not set(said) & set("\x1b\x07\r\u202e")
    assert max(map(len, said.splitlines())) < 600


def test_an_odd_round_ends_no_store(tmp_path: Path) -> None:
    head = MessageHeader("a" * 64, "b" * 64, "train", 1, 9.0, ())
    with SessionRecorder(tmp_path, Policy()) as recorder:
        for number in ("three", 2**62, True):
            recorder.record_received(
                head, RecordDict({"header": ConfigRecord({"kind": "\x1b[2J", "round": number})}), 7
            )


def test_the_answer_to_words_is_not_taken_down_as_a_count_of_images(tmp_path: Path) -> None:
    answer = encode_result(StoreInfo("oslo", {}, 0, 0))
    parcel = OutgoingMessage(PushMessagesRequest(), {}, "c" * 64)
    with SessionRecorder(tmp_path, Policy()) as recorder:
        recorder.record_sending(answer, parcel, encode_order(Notice("Closed on Monday.")))
        recorder.record_sending(answer, parcel, encode_order(Query("run", resolve({}))))
    assert [entry.why for entry in entries(tmp_path / "audit.jsonl")][1:] == [
        "that the message has arrived", "how many images are here",
    ]  # fmt: skip


class Answers:
    """A server that answers as it likes."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.path)
                self.rfile.read(int(self.headers["content-length"]))
                self.send_response(307 if self.path == "/away" else 200)
                if self.path == "/away":
                    self.send_header("location", "/elsewhere")
                if self.path == "/zipped":
                    self.send_header("content-encoding", "gzip")
                if self.path != "/endless":
                    sizes = {
                        "/large": MAX_RESPONSE_BYTES + 1,
                        "/v1/fleet/pull-object": MAX_RESPONSE_BYTES,
                    }
                    self.send_header("content-length", str(sizes.get(self.path, 0)))
                self.end_headers()

            def log_message(self, format: str, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Answers]:
    answers = Answers()
    yield answers
    answers.server.shutdown()
    answers.server.server_close()


def test_answers_are_bounded_and_lead_nowhere_else(server: Answers) -> None:
    with httpx.Client(
        base_url=f"http://127.0.0.1:{server.server.server_port}", follow_redirects=True
    ) as client:
        limit_responses(client)
        assert client.post("/fine").status_code == 200
        assert client.post("/away").status_code == 307
        for path in ("/large", "/zipped", "/endless"):
            with pytest.raises(httpx.RemoteProtocolError):
                client.post(path)
    assert "/elsewhere" not in server.asked


def test_a_piece_for_which_there_is_no_room_is_not_read(server: Answers) -> None:
    taken = list[int]()

    def take(size: int) -> None:
        taken.append(size)
        raise StoreError("policy", "No room.", "megabytes-down-per-day")

    with httpx.Client(base_url=f"http://127.0.0.1:{server.server.server_port}") as client:
        limit_responses(client, take)
        assert client.post("/fine").status_code == 200
        with pytest.raises(StoreError):  # none of these bytes ever comes: whoever reads them waits
            client.post("/v1/fleet/pull-object")
    assert taken == [MAX_RESPONSE_BYTES]


def test_an_order_without_its_frozen_parameters_names_them_only(home: Path) -> None:
    forged = encode_order(
        TrainOrder(replace(PLAN, frozen=torch.ones(3)), 1, params()), attach_frozen=True
    )
    forged["header"]["frozen_sha256"] = "0" * 64
    result = decode_result(told(home, forged))
    assert isinstance(result, Failure)
    assert not list((home / "cache").rglob("*.safetensors"))
    with pytest.raises(MessageError):
        decode_result(forged)
