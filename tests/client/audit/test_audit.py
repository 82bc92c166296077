"""The audit log: a chain that shows what was done to it, and survives what happens to processes and
disks.
"""

import hashlib
import json
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.client.audit import AuditLog, AuditNote, verify
from fedshelf.client.audit.entry import (
    FIRST_PREVIOUS_HASH,
    MAX_TEXT_CHARACTERS,
    Event,
    decode,
    encode,
)
from fedshelf.client.audit.files import LogHead, full_files, read_head, write_head
from fedshelf.client.audit.seal import public_text, seal
from fedshelf.client.audit.verify import entries
from fedshelf.client.connection.credentials import new_key
from fedshelf.common.errors import RunError

WRITER = """
import sys
from pathlib import Path
from fedshelf.client.audit import AuditLog, AuditNote
log = AuditLog(Path(sys.argv[1]), max_file_bytes=4000)
print("open", flush=True)
for number in range(int(sys.argv[2])):
    log.record(AuditNote("received", kind="train", run="run", round=number + 1, size=1000))
    print(number, flush=True)
"""


def filled(path: Path, count: int, max_file_bytes: int = 16 * 2**20) -> Path:
    with AuditLog(path, now=lambda: 1e9, max_file_bytes=max_file_bytes) as log:
        for number in range(1, count + 1):
            log.record(
                AuditNote(
                    "sent", "update", "run", number, 10 * number, "ab" * 32, f"round {number}"
                )
            )
    return path


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A log of five lines, and its head."""
    path = filled(tmp_path_factory.mktemp("log") / "audit.jsonl", 5)
    return path.read_bytes(), path.with_suffix(".head").read_bytes()


def placed(folder: Path, content: bytes, head: bytes | None) -> Path:
    (folder / "audit.jsonl").write_bytes(content)
    if head is not None:
        (folder / "audit.head").write_bytes(head)
    return folder / "audit.jsonl"


def test_a_line_can_be_checked_by_hand(five: tuple[bytes, bytes]) -> None:
    first, second, *_ = five[0].splitlines()
    told = json.loads(second)
    assert (told["number"], told["event"], told["kind"], told["round"], told["size"]) == (
        2,
        "sent",
        "update",
        2,
        20,
    )
    body, _, own = second.rpartition(b',"hash":"')
    assert own == hashlib.sha256(body).hexdigest().encode() + b'"}'
    assert told["previous"] == json.loads(first)["hash"]
    assert json.loads(first)["previous"] == FIRST_PREVIOUS_HASH


def test_a_whole_log_is_found_whole(tmp_path: Path, five: tuple[bytes, bytes]) -> None:
    verdict = verify(placed(tmp_path, *five))
    assert (verdict.first, verdict.head.number, verdict.fault) == (1, 5, "")
    assert verdict.head == read_head(tmp_path / "audit.jsonl")
    assert [entry.round for entry in entries(tmp_path / "audit.jsonl")] == [1, 2, 3, 4, 5]


def test_a_log_that_was_never_begun_is_empty_and_a_removed_one_is_not(tmp_path: Path) -> None:
    filled(tmp_path / "audit.jsonl", 0)
    assert verify(tmp_path / "audit.jsonl").fault == ""
    filled(tmp_path / "audit.jsonl", 1)
    (tmp_path / "audit.jsonl").unlink()
    assert (
        "ends with number 0, but number 1 had been written"
        in verify(tmp_path / "audit.jsonl").fault
    )


@given(st.data())
def test_no_byte_can_be_changed_unseen(
    tmp_path_factory: pytest.TempPathFactory, five: tuple[bytes, bytes], data: st.DataObject
) -> None:
    content = bytearray(five[0])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] = data.draw(st.integers(0, 255).filter(lambda value: value != five[0][place]))
    verdict = verify(placed(tmp_path_factory.mktemp("log"), bytes(content), five[1]))
    assert verdict.fault
    line = five[0][:place].count(b"\n") + 1
    assert verdict.head.number == line - 1


@given(st.permutations(range(5)) | st.lists(st.integers(0, 4), max_size=8))
def test_no_line_can_be_moved_removed_or_repeated_unseen(
    tmp_path_factory: pytest.TempPathFactory, five: tuple[bytes, bytes], order: list[int]
) -> None:
    lines = five[0].splitlines(keepends=True)
    path = placed(
        tmp_path_factory.mktemp("log"), b"".join(lines[number] for number in order), five[1]
    )
    verdict = verify(path)
    assert (verdict.fault == "") is (order == list(range(5)))
    assert verdict.first == (order[0] + 1 if order else 0)


def test_a_line_written_anew_with_a_fitting_hash_breaks_the_next_one(
    tmp_path: Path, five: tuple[bytes, bytes]
) -> None:
    lines = five[0].splitlines(keepends=True)
    lines[2], _ = encode(AuditNote("sent", "update", "run", 3, 7), 3, 1e9, decode(lines[1]).hash)
    assert (
        verify(placed(tmp_path, b"".join(lines), five[1])).fault
        == "line 4 of audit.jsonl does not follow the line before it"
    )


def test_an_end_written_anew_does_not_fit_the_head(
    tmp_path: Path, five: tuple[bytes, bytes]
) -> None:
    lines = five[0].splitlines(keepends=True)
    lines[4], _ = encode(AuditNote("sent", "update", "run", 5, 7), 5, 1e9, decode(lines[3]).hash)
    assert (
        verify(placed(tmp_path, b"".join(lines), five[1])).fault
        == "number 5 is not the one that had been written"
    )


@pytest.mark.parametrize("head", [None, b"", b'{"number": 5}', b"[]"])
def test_without_its_head_a_log_may_have_been_cut(
    tmp_path: Path, five: tuple[bytes, bytes], head: bytes | None
) -> None:
    path = placed(tmp_path, five[0], head)
    assert "audit.head is missing or damaged" in verify(path).fault
    filled(path, 1)
    assert (
        verify(path).fault
        == "line 6 of audit.jsonl says: audit.head is missing or damaged, so lines may be missing"
        " before this one"
    )


@pytest.mark.parametrize("kept", [0, 2, 4])
def test_a_log_that_was_cut_goes_on_and_shows_the_gap_for_ever(
    tmp_path: Path, five: tuple[bytes, bytes], kept: int
) -> None:
    path = placed(tmp_path, b"".join(five[0].splitlines(keepends=True)[:kept]), five[1])
    assert verify(path).fault == f"it ends with number {kept}, but number 5 had been written"
    filled(path, 2)
    assert [entry.number for entry in entries(path)] == [*range(1, kept + 1), 6, 7, 8]
    assert (
        verify(path).fault
        == f"line {kept + 1} of audit.jsonl says: number 5, which had been written, is missing or"
        " changed"
    )


def test_half_a_line_is_cut_off_and_noted(tmp_path: Path, five: tuple[bytes, bytes]) -> None:
    content = five[0]
    half = five[0].splitlines()[1][:100]
    path = placed(tmp_path, content + half, five[1])
    assert verify(path).fault == ""
    filled(path, 1)
    assert path.read_bytes().startswith(content)
    assert [(entry.event, entry.size) for entry in entries(path)][5:] == [
        ("mended", 100),
        ("sent", 10),
    ]
    assert verify(path).fault == ""


def test_a_line_whose_process_died_before_the_head_was_written_is_kept(
    tmp_path: Path, five: tuple[bytes, bytes]
) -> None:
    line, _ = encode(AuditNote("left"), 6, 1e9, decode(five[0].splitlines()[4]).hash)
    path = placed(tmp_path, five[0] + line, five[1])
    assert verify(path).fault == ""
    filled(path, 1)
    assert [entry.event for entry in entries(path)][5:] == ["left", "sent"]
    assert verify(path).fault == ""


def test_full_files_are_set_aside_without_a_break(tmp_path: Path) -> None:
    path = filled(tmp_path / "audit.jsonl", 12, max_file_bytes=1000)
    files = full_files(path)
    assert len(files) >= 3
    assert [decode(file.read_bytes().splitlines()[-1]).number for file in files] == [
        int(file.stem.removeprefix("audit-")) for file in files
    ]
    assert verify(path).fault == ""
    assert verify(filled(path, 5, max_file_bytes=1000)).head.number == 17
    files[0].rename(tmp_path / "elsewhere")
    verdict = verify(path)
    assert verdict.first == int(files[0].stem.removeprefix("audit-")) + 1
    assert (
        f"begins with number {verdict.first}, but number 1 is the first that was written (1 of its"
        in verdict.fault
    )
    files[2].unlink()
    assert f"after number {files[1].stem.removeprefix('audit-').lstrip('0')}" in verify(path).fault


def test_a_log_that_is_signed_shows_a_head_of_anybody_else(tmp_path: Path) -> None:
    key = new_key()
    path = tmp_path / "audit.jsonl"
    for _ in range(2):
        with AuditLog(path, key=key) as log:
            for _ in range(3):
                log.record(AuditNote("received"))
    signer = public_text(key)
    assert (verify(path, signer).fault, verify(path, signer).signer) == ("", signer)
    lines = path.read_bytes().splitlines(keepends=True)
    head = json.loads(path.with_suffix(".head").read_bytes())
    path.write_bytes(b"".join(lines[:4]))
    cut = {**head, "number": 4, "hash": decode(lines[3]).hash}
    path.with_suffix(".head").write_text(json.dumps(cut))
    assert (
        verify(path, signer).fault
        == "audit.head is not as it was signed, so lines may be missing at the end"
    )
    path.with_suffix(".head").write_text(json.dumps({"number": 4, "hash": decode(lines[3]).hash}))
    assert "audit.head is not signed, though this store has a key" in verify(path, signer).fault
    forged = seal(replace(LogHead(4, decode(lines[3]).hash), first=1), new_key())
    write_head(path, forged)
    assert "is signed by another key than this store's (SHA256:" in verify(path, signer).fault
    path.with_suffix(".head").write_text(json.dumps(cut))
    with AuditLog(path, key=key):
        pass
    assert "audit.head is not as it was signed" in verify(path, signer).fault  # for ever


def test_a_head_of_an_earlier_version_is_signed_from_the_next_start_on(
    tmp_path: Path, five: tuple[bytes, bytes]
) -> None:
    old = {key: value for key, value in json.loads(five[1]).items() if key in ("number", "hash")}
    path = placed(
        tmp_path, b"".join(five[0].splitlines(keepends=True)[2:]), json.dumps(old).encode()
    )
    assert (verify(path).fault, verify(path).first) == ("", 3)
    key = new_key()
    with AuditLog(path, key=key) as log:
        log.record(AuditNote("left"))
    assert verify(path, public_text(key)).fault == ""
    noted = [entry.why for entry in entries(path) if entry.event == "mended"]
    assert len(noted) == 1
    assert noted[0].startswith(
        "audit.head was not signed before this line, and is signed by the key SHA256:"
    )
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    assert (
        verify(path).fault == "it begins with number 4, but number 3 is the first that was written"
    )


def test_files_of_a_log_are_for_this_user_only(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.touch(0o644)
    filled(path, 12, max_file_bytes=1000)
    assert {file.stat().st_mode & 0o777 for file in tmp_path.glob("audit*")} == {0o600}


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        AuditLog(tmp_path / "audit.jsonl"),
        pytest.raises(RunError, match="only one flower-client at a time"),
    ):
        AuditLog(tmp_path / "audit.jsonl")
    AuditLog(tmp_path / "audit.jsonl").close()


def test_threads_take_turns(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as log:
        threads = [
            threading.Thread(target=lambda: [log.record(AuditNote("received")) for _ in range(5)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert verify(path).head.number == 20
    assert verify(path).fault == ""


def test_texts_of_a_server_are_cut_and_stay_on_one_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as log:
        log.record(
            AuditNote(
                "refused", run="x" * 10**6, why='a\nb"\udc80\u2028,"hash":"' + FIRST_PREVIOUS_HASH
            )
        )
    (entry,) = entries(path)
    assert (len(entry.run), entry.why) == (
        MAX_TEXT_CHARACTERS,
        'a\nb"?\u2028,"hash":"' + FIRST_PREVIOUS_HASH,
    )
    assert verify(path).fault == ""
    assert path.read_bytes().count(b"\n") == 1


def started(path: Path, lines: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(lines)], stdout=subprocess.PIPE
    )


def test_whatever_was_recorded_outlives_sigkill(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    said = 0
    for lines in (1, 7, 30):
        with started(path, 10_000) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"open\n"
            for _ in range(lines):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            said += lines + len(process.stdout.read().splitlines())
        found = sum(entry.event == "received" for entry in entries(path))
        # a last line said may be half of one; a last one recorded may be unsaid
        assert said - 1 <= found <= said + 1
        said = found
        assert verify(path).fault == ""
    assert full_files(path)


def test_a_full_disk_is_told_and_nothing_is_broken_by_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", WRITER, str(path), "10"],
        capture_output=True,
        check=False,
        preexec_fn=limit,
        timeout=300,
    )
    assert done.returncode == 1
    assert b"OSError" in done.stderr
    written = len(done.stdout.splitlines()) - 1
    assert 0 < written == len(list(entries(path))) < 10
    assert path.read_bytes().endswith(b"\n")
    assert verify(path).fault == ""
    filled(path, 3)
    assert verify(path).head.number == written + 3
    assert verify(path).fault == ""


texts = st.text(max_size=20)


@settings(max_examples=50)
@given(
    st.builds(
        AuditNote,
        st.sampled_from(Event.__args__),
        texts,
        texts,
        st.integers(0),
        st.integers(0),
        texts,
        texts,
    )
)
def test_a_line_says_what_the_note_said(note: AuditNote) -> None:
    line, own = encode(note, 3, 1e9, FIRST_PREVIOUS_HASH)
    entry = decode(line)
    assert (entry.number, entry.previous, entry.hash) == (3, FIRST_PREVIOUS_HASH, own)
    assert (
        AuditNote(
            entry.event, entry.kind, entry.run, entry.round, entry.size, entry.sha256, entry.why
        )
        == note
    )


@given(st.binary(max_size=200))
def test_no_line_is_worse_than_wrong(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|Entry"):
        decode(line)


def test_reading_does_not_disturb_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    with started(path, 60) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        while process.poll() is None:
            assert verify(path).fault == ""
        process.stdout.read()
    assert verify(path).head.number == 60
