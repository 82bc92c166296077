"""The door tells which orders have been answered with all pieces, and the server's app hears it."""

import json
import resource
from pathlib import Path

import pytest
from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse
from flwr.proto.message_pb2 import Message, Metadata, PushObjectRequest, PushObjectResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedshelf.server.ipc import upload_log
from fedshelf.server.ipc.upload_log import UploadLogReader, UploadLogWriter

FIRST = "a" * 64
SECOND = "b" * 64
TAKEN, REFUSED = (PushObjectResponse(stored=stored).SerializeToString() for stored in (True, False))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answered.jsonl"


def announcement(order: str) -> bytes:
    about = Message(metadata=Metadata(reply_to_message_id=order))
    return bytes(PushMessagesRequest(messages_list=[about]).SerializeToString())


def granted(session: str, *pieces: str) -> bytes:
    return bytes(
        PushMessagesResponse(session_id=session, objects_to_push=pieces).SerializeToString()
    )


def piece(session: str, name: str) -> bytes:
    return bytes(
        PushObjectRequest(
            session_id=session, object_id=name, object_content=b"x"
        ).SerializeToString()
    )


def test_an_order_is_answered_when_the_last_piece_has_come(path: Path) -> None:
    uploads = UploadLogWriter(path)
    app = UploadLogReader(path)
    uploads.announced(announcement(FIRST), granted("one", "x", "y"))
    uploads.announced(announcement(SECOND), granted("two", "x"))
    uploads.arrived(piece("one", "x"), TAKEN)
    uploads.arrived(piece("one", "y"), REFUSED)
    uploads.arrived(piece("three", "y"), TAKEN)
    assert app.complete([FIRST, SECOND]) == set()
    uploads.arrived(piece("one", "y"), TAKEN)
    assert app.complete([SECOND]) == set()
    assert app.complete([FIRST, SECOND]) == {FIRST}
    assert app.complete([FIRST, SECOND]) == set()
    uploads.arrived(piece("two", "x"), TAKEN)
    assert app.complete([FIRST, SECOND]) == {SECOND}


def test_an_answer_has_begun_until_it_is_complete(path: Path) -> None:
    uploads = UploadLogWriter(path)
    app = UploadLogReader(path)
    uploads.announced(announcement(FIRST), granted("one", "x"))
    uploads.announced(announcement(SECOND), granted("two", "x"))
    assert app.begun([FIRST, SECOND, "c" * 64]) == {FIRST, SECOND}
    uploads.arrived(piece("one", "x"), TAKEN)
    assert app.begun([FIRST, SECOND]) == {SECOND}
    assert app.complete([FIRST, SECOND]) == {FIRST}
    # a door that starts again knows nothing of the pieces before, so all may be there
    UploadLogWriter(path)
    assert app.begun([FIRST, SECOND]) == set()


def test_where_a_full_disk_keeps_the_door_from_telling_nothing_counts_as_begun(path: Path) -> None:
    uploads = UploadLogWriter(path)
    app = UploadLogReader(path)
    uploads.announced(announcement(FIRST), granted("one", "x"))
    assert app.begun([FIRST]) == {FIRST}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, hard))
    try:
        uploads.arrived(piece("one", "x"), TAKEN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert app.begun([FIRST]) == app.complete([FIRST]) == set()


def test_an_answer_that_is_all_there_already_is_told_at_once(path: Path) -> None:
    UploadLogWriter(path).announced(announcement(FIRST), granted("again"))
    assert UploadLogReader(path).complete([FIRST]) == {FIRST}


def test_a_door_that_starts_again_tells_on(path: Path) -> None:
    app = UploadLogReader(path)
    UploadLogWriter(path).announced(announcement(FIRST), granted("one"))
    assert app.complete([FIRST]) == {FIRST}
    UploadLogWriter(path).announced(announcement(SECOND), granted("one"))
    assert app.complete([FIRST, SECOND]) == {SECOND}


def test_the_file_stays_small(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_log, "MAX_UPLOAD_LOG_BYTES", 1000)
    uploads = UploadLogWriter(path)
    app = UploadLogReader(path)
    for number in range(100):
        uploads.announced(announcement(f"{number:064x}"), granted("one"))
        assert app.complete([f"{number:064x}"]) == {f"{number:064x}"}
        assert path.stat().st_size <= 1000


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=40), st.text(max_size=70))
def test_what_stores_make_up_is_not_told(path: Path, junk: bytes, order: str) -> None:
    uploads = UploadLogWriter(path)
    uploads.announced(announcement(order), granted("one"))
    for known in (junk, announcement(FIRST), granted("one", "x")):
        uploads.announced(announcement(FIRST), granted("one", "x"))
        uploads.arrived(junk, known)
        uploads.arrived(known, junk)
    said = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
    assert all(line == {"begun": FIRST} for line in said)


def test_where_there_is_no_door_nothing_is_told(path: Path) -> None:
    assert UploadLogReader(None).complete([FIRST]) == set()
    assert UploadLogReader(path).complete([FIRST]) == set()
