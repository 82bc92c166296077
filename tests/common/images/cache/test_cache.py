import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding import content_digests
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.images.folder.photo_folder import PhotoFolder, open_folder
from tests.helpers.photo_files import encoded, noise, save, store

BUILD = """
import sys
from pathlib import Path
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.images.folder.photo_folder import open_folder

def report(done, total):
    if done == 3:
        print("busy", flush=True)
        sys.stdin.readline()

folder = open_folder(Path(sys.argv[1]), image_size=16, channels=3, progress=report)
print(sum(len(images) for images in folder.splits.values()), flush=True)
"""


class Decoded:
    """Counts the photos that are decoded."""

    def __init__(self) -> None:
        self.count = 0

    def open(
        self, root: Path, image_size: int = 16, denoise: int = 0, channels: int = 3
    ) -> PhotoFolder:
        self.count = 0
        return open_folder(
            root, image_size=image_size, channels=channels, denoise=denoise, progress=self._progress
        )

    def _progress(self, done: int, total: int) -> None:
        self.count += 1
        assert done == self.count <= total


def pixels(folder: PhotoFolder) -> torch.Tensor:
    return folder.splits["train"].inputs


def builder(root: Path) -> subprocess.Popen[str]:
    """A process that opens `root`, says "busy" half-way and waits for a line."""
    command = [sys.executable, "-c", BUILD, str(root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def busy(process: subprocess.Popen[str]) -> bool:
    assert process.stdout is not None
    return process.stdout.readline() == "busy\n"


def test_photos_are_decoded_once(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "store", {"a": 5, "b": 4})
    decoded = Decoded()
    first = decoded.open(root)
    assert decoded.count == 9
    again = decoded.open(root)
    assert decoded.count == 0
    assert torch.equal(pixels(first), pixels(again))
    assert len(list(cache_folder.glob("*.pixels"))) == 1


def test_rows_are_mapped_not_copied_and_torch_does_not_warn(
    tmp_path: Path, cache_folder: Path
) -> None:
    root = store(tmp_path / "store", {"a": 3})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder = Decoded().open(root)
    maps = (
        Path("/proc/self/maps").read_text()
        if Path("/proc/self/maps").exists()
        else str(cache_folder)
    )
    assert str(cache_folder) in maps
    file = next(cache_folder.glob("*.pixels"))
    before = file.read_bytes()
    pixels(folder).zero_()  # private to this process
    assert file.read_bytes() == before


def test_each_pixel_format_has_its_own_file(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "store", {"a": 3})
    decoded = Decoded()
    for options in ({}, {"image_size": 8}, {"denoise": 3}, {"channels": 1}):
        decoded.open(root, **options)
        assert decoded.count == 3
    decoded.open(root)
    assert decoded.count == 0
    assert len(list(cache_folder.glob("*.pixels"))) == 4


def test_added_photos_alone_are_decoded(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "store", {"a": 5, "c": 4})
    decoded = Decoded()
    (root / "c" / "broken.jpg").write_text("no photo")
    old = pixels(decoded.open(root))
    assert decoded.count == 10
    store(root, {"b": 3}, first_seed=100)
    (root / "a" / "000.png").unlink()
    grown = decoded.open(root)
    assert decoded.count == 3
    assert grown.left_out == (("c/broken.jpg", "not an image"),)
    assert torch.equal(pixels(grown)[:4], old[1:5])
    assert torch.equal(pixels(grown)[7:], old[5:])
    fresh = open_folder(root, image_size=16, channels=3)
    assert torch.equal(pixels(fresh), pixels(grown))
    assert len(list(cache_folder.glob("*.pixels"))) == 1  # the earlier one is gone
    assert old.sum() > 0  # and still readable where it is mapped


def test_renamed_photos_and_other_classes_are_not_decoded_again(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"a": 3, "b": 2})
    decoded = Decoded()
    decoded.open(root)
    (root / "a").rename(root / "z")
    assert decoded.open(root).classes == ("b", "z")
    assert decoded.count == 0


def test_a_photo_changed_in_place_is_never_stale(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"a": 3})
    decoded = Decoded()
    path = root / "a" / "001.png"
    for seed in range(100, 110):
        status = path.stat()
        before = pixels(decoded.open(root))[1].clone()
        data = encoded(noise(seed), "PNG")[: status.st_size]
        # the same size, whatever follows the picture
        path.write_bytes(data + bytes(status.st_size - len(data)))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # and the old modification time
        assert path.stat().st_size == status.st_size
        assert path.stat().st_mtime_ns == status.st_mtime_ns
        assert not torch.equal(pixels(decoded.open(root))[1], before)
        assert decoded.count == 1


def test_settled_files_are_not_read_again_and_fresh_ones_are(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", noise(1))
    now = path.stat().st_ctime_ns
    first = content_digests.hash_files([path], {}, now + 1)
    # it has only just changed, it could change again within a tick of the clock
    assert first.known == {}
    settled = content_digests.hash_files([path], {}, now + content_digests.SETTLED_NS + 1)
    assert settled.digests == first.digests == (content_digests.content_digest(path.read_bytes()),)
    assert content_digests.is_unchanged(path, settled.known)
    assert not content_digests.is_unchanged(path, first.known)
    fingerprint, _ = settled.known[str(path)]
    believed = {str(path): (fingerprint, "00" * content_digests.CONTENT_DIGEST_BYTES)}
    assert content_digests.hash_files([path], believed, now).digests == (
        bytes(content_digests.CONTENT_DIGEST_BYTES),
    )
    os.utime(path)
    assert not content_digests.is_unchanged(path, settled.known)
    assert content_digests.hash_files([path], believed, now).digests == first.digests


def test_two_processes_may_build_at_once(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "store", {"a": 6, "b": 6})
    with builder(root) as one, builder(root) as other:
        assert busy(one)
        assert busy(other)  # both are in the middle of it now
        assert one.communicate("go\n")[0] == "12\n"
        assert other.communicate("go\n")[0] == "12\n"
    decoded = Decoded()
    assert pixels(decoded.open(root)).shape == (12, 16, 16, 3)
    assert decoded.count == 0
    assert sorted(path.suffix for path in cache_folder.iterdir()) == [".json", ".pixels"]


def test_a_build_that_is_killed_leaves_nothing_that_counts(
    tmp_path: Path, cache_folder: Path
) -> None:
    root = store(tmp_path / "store", {"a": 6, "b": 6})
    with builder(root) as process:
        assert busy(process)
        process.send_signal(signal.SIGKILL)
    (left,) = cache_folder.glob(".*.tmp")
    decoded = Decoded()
    decoded.open(root)
    assert decoded.count == 12
    assert left.exists()  # it could belong to a living process
    os.utime(left, (time.time() - 2 * 24 * 3600,) * 2)
    store(root, {"c": 1}, first_seed=50)
    decoded.open(root)
    assert not left.exists()


def test_killed_between_the_pixels_and_the_index(tmp_path: Path, cache_folder: Path) -> None:
    root = store(tmp_path / "store", {"a": 3})
    decoded = Decoded()
    decoded.open(root)
    next(cache_folder.glob("*.json")).unlink()
    decoded.open(root)
    assert decoded.count == 0


@pytest.mark.parametrize(
    "damage", ["cut", "longer", "empty", "garbled end", "garbled trailer", "absent"]
)
def test_a_damaged_cache_file_is_built_anew(
    tmp_path: Path, cache_folder: Path, damage: str
) -> None:
    root = store(tmp_path / "store", {"a": 3})
    decoded = Decoded()
    before = pixels(decoded.open(root)).clone()
    path = next(cache_folder.glob("*.pixels"))
    data = path.read_bytes()
    path.unlink()
    if damage != "absent":
        path.write_bytes(
            {
                "cut": data[:-100],
                "longer": data[:-200] + bytes(7) + data[-200:],
                "empty": b"",
                "garbled end": data[:-20] + bytes(20),
                "garbled trailer": data.replace(b'"digests"', b'"digestz"'),
            }[damage]
        )
    assert torch.equal(pixels(decoded.open(root)), before)
    assert decoded.count == 3
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"[1]", b'{"files": {"x": 3}, "pixels": {}}', b"\xff"]
)
def test_a_damaged_index_is_forgotten(tmp_path: Path, cache_folder: Path, damage: bytes) -> None:
    root = store(tmp_path / "store", {"a": 3})
    decoded = Decoded()
    decoded.open(root)
    next(cache_folder.glob("*.json")).write_bytes(damage)
    decoded.open(root)
    assert decoded.count == 0


def test_a_cache_that_cannot_be_written_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(
        DataError,
        match=r"Cannot write the image cache in .*: Not a directory\. .*set FEDSHELF_CACHE",
    ):
        Decoded().open(store(tmp_path / "store", {"a": 3}))


def test_a_full_disk_is_one_sentence_and_leaves_nothing_behind(
    tmp_path: Path, cache_folder: Path
) -> None:
    root = store(tmp_path / "store", {"a": 12})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # the system refuses to write more: 12 rows need 590 kB
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(
            DataError, match=r"Cannot write the image cache in .*: File too large\. Make room there"
        ):
            Decoded().open(root, image_size=128)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(cache_folder.iterdir()) == []
    assert pixels(Decoded().open(root, image_size=128)).shape == (12, 128, 128, 3)


def test_a_photo_that_changes_while_its_folder_is_read_is_an_error(
    tmp_path: Path, cache_folder: Path
) -> None:
    count = 8 * usable_cores()  # more than are decoded ahead
    last = store(tmp_path / "store", {"a": count}) / "a" / f"{count - 1:03}.png"
    with pytest.raises(
        DataError, match=rf"{last.name} changed while its folder was being read; try again"
    ):
        open_folder(
            tmp_path / "store",
            image_size=8,
            channels=3,
            progress=lambda *_: save(last, noise(10_000)) and None,
        )
    assert list(cache_folder.iterdir()) == []


def test_pixels_equal_those_decoded_one_by_one(tmp_path: Path) -> None:
    root = store(tmp_path / "store", {"a": 40})
    # 2: bilinear
    expected = [np.asarray(noise(number).resize((16, 16), 2)) for number in range(40)]
    np.testing.assert_array_equal(pixels(Decoded().open(root)).numpy(), np.stack(expected))
