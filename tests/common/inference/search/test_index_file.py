"""The file of an index: read back as written, and refused after any damage."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.search.index_file import (
    IndexedPhoto,
    SearchIndex,
    read_index,
    write_index,
)

ROOT = Path(__file__).parents[4]


def made(photos: int = 3, dimensions: int = 4) -> SearchIndex:
    drawn = np.random.default_rng(photos).standard_normal((photos, dimensions))
    return SearchIndex(
        model="ab" * 32,
        decoder="16 3 0",
        folder=Path("/shops/one"),
        threshold=0.5,
        is_complete=True,
        photos=tuple(
            IndexedPhoto(bytes([number % 256]) * 20, ((f"hat/{number}.jpg", (1, 2, 3, 4)),))
            for number in range(photos)
        ),
        embeddings=unit_vectors(drawn.astype(np.float32)),
    )


def same(one: SearchIndex, other: SearchIndex) -> bool:
    nothing = np.empty((0, 0), np.float32)
    return np.array_equal(one.embeddings, other.embeddings) and (
        repr(replace(one, embeddings=nothing)) == repr(replace(other, embeddings=nothing))
    )


@pytest.mark.parametrize("photos", [1, 3, 2500])
def test_it_is_read_as_it_was_written(tmp_path: Path, photos: int) -> None:
    """2,500 photos x 128 are more than one piece of a MiB, and the names begin in the middle of
    another.
    """
    index = made(photos, 128)
    write_index(tmp_path / "shop.index", index)
    assert same(read_index(tmp_path / "shop.index"), index)


def test_names_that_are_no_valid_text_survive(tmp_path: Path) -> None:
    path = os.fsdecode(b"h\xff\xc3\xa4t.jpg")
    index = replace(made(1), photos=(IndexedPhoto(b"1" * 20, ((path, None), ("b.jpg", None))),))
    write_index(tmp_path / "shop.index", index)
    found = read_index(tmp_path / "shop.index")
    assert found.paths(0) == [Path("/shops/one") / path, Path("/shops/one/b.jpg")]
    assert found.names(0) == ["one/h\ufffdät.jpg", "one/b.jpg"]


def test_safetensors_reads_it(tmp_path: Path) -> None:
    index = made()
    write_index(tmp_path / "shop.index", index)
    with safe_open(tmp_path / "shop.index", framework="np") as opened:
        assert opened.metadata()["model"] == index.model
        assert np.array_equal(opened.get_tensor("embeddings"), index.embeddings)
        lines = opened.get_tensor("photos").tobytes().splitlines()
    assert [json.loads(line)["files"][0][0] for line in lines] == [
        f"hat/{number}.jpg" for number in range(3)
    ]


def test_every_flipped_byte_and_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.index"
    write_index(path, made(2))
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="damaged"):
            read_index(path)
        path.write_bytes(content[:place])
        with pytest.raises(DataError, match="damaged"):
            read_index(path)
    path.write_bytes(content + b"\n")
    with pytest.raises(DataError, match="damaged"):
        read_index(path)
    path.write_bytes(content)
    assert same(read_index(path), made(2))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.97])
def test_damage_in_any_piece_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "shop.index"
    write_index(path, made(5000, 128))
    with path.open("r+b") as file:
        file.seek(int(share * path.stat().st_size))
        (byte,) = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(DataError, match="damaged"):
        read_index(path)


@pytest.mark.parametrize("inner", ["/etc/passwd", "../passwd", "hat/../../passwd"])
def test_files_outside_of_the_folder_are_refused(tmp_path: Path, inner: str) -> None:
    index = replace(made(1), photos=(IndexedPhoto(b"1" * 20, ((inner, None),)),))
    write_index(tmp_path / "shop.index", index)
    with pytest.raises(DataError, match="damaged"):
        read_index(tmp_path / "shop.index")


def test_an_index_that_is_missing_or_a_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There is no index at"):
        read_index(tmp_path / "shop.index")
    with pytest.raises(DataError, match="Cannot read the index"):
        read_index(tmp_path)


# Each child writes the new index over the old one, and is killed: before the numbered call that
# touches a file, or by the system after so many bytes. What it leaves is told.
KILLED = """
import json, os, resource, signal, sys
from pathlib import Path
from fedshelf.common.inference.search.index_file import read_index, write_index

place, old, new = map(Path, sys.argv[1:4])
before = old.read_bytes()
after = read_index(new)

def die_before(call):
    calls = 0
    def watch(event, arguments):
        nonlocal calls
        if event.split(".")[0] in ("open", "os", "tempfile"):
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)

def die_after(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

def left_by(prepare, number):
    place.write_bytes(before)
    child = os.fork()
    if child == 0:
        prepare(number)
        write_index(place, after)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    content = place.read_bytes()
    state = {before: "old", new.read_bytes(): "new"}[content]
    return [os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, state]

calls = []
while not calls or calls[-1][0]:
    calls.append(left_by(die_before, len(calls) + 1))
sizes = [left_by(die_after, size) for size in (0, 1, 500, 2**20, len(new.read_bytes()) - 1)]
print(json.dumps({"calls": calls, "sizes": sizes}))
"""


def test_a_writer_killed_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    write_index(tmp_path / "old", made(2, 128))
    write_index(tmp_path / "new", made(2500, 128))
    paths = [str(tmp_path / name) for name in ("shop.index", "old", "new")]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    told = json.loads(done.stdout)
    assert told["calls"][-1] == [0, "new"]
    killed = told["calls"][:-1]
    assert {signal for signal, _ in killed} == {9}
    assert len(killed) >= 3  # at least: the file is opened, renamed, and its folder is written
    states = [state for _, state in killed]
    assert states == sorted(states, reverse=True)  # the old one first, then the new one
    assert set(states) == {"old", "new"}
    assert [state for _, state in told["sizes"]] == ["old"] * 5
    assert 0 not in {signal for signal, _ in told["sizes"]}
