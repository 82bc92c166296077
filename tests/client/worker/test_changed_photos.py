"""Photos that are added, deleted or replaced while a store is at work: an order is done on those
that are there.
"""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.forget import UNREACHABLE_SECONDS, forget_all
from fedshelf.common.images.cache.pixel_file import read_digests
from fedshelf.common.images.decoding.content_digests import SETTLED_NS
from fedshelf.common.images.folder.photo_folder import open_folder
from fedshelf.common.protocol.messages import EvaluateOrder, TrainOrder
from fedshelf.common.training.fit import Network
from tests.helpers.deployed import draw_photos, wait_for
from tests.helpers.small_plan import CPU, PLAN, SPEC


class Store:
    """A store at work on `photos`, and all that it told of changes."""

    def __init__(self, photos: Path, place: Path) -> None:
        self.told: list[str] = []
        self.source = FolderSource("oslo", photos, Policy(), on_change=self.told.append)
        self.worker = StoreWorker("oslo", self.source, Trainer(CPU, StateStore(place / "states")))
        self.params = Network(SPEC, CPU, seed=1).vector.detach().clone()

    def trained(self) -> int:
        return self.worker.train(TrainOrder(PLAN, 1, self.params)).num_examples

    def counts(self) -> list[int]:
        """Photos to train on, and those held out for validation and for the test, as orders find
        them.
        """
        held_out = (
            self.worker.evaluate(EvaluateOrder(PLAN, 1, self.params, split))
            for split in ("validation", "test")
        )
        return [self.trained(), *(each.counts.num_examples for each in held_out)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def photos(tmp_path: Path, cache: Path) -> Path:
    """Two classes of twenty photos."""
    assert not cache.exists()
    return draw_photos(tmp_path / "photos", ["boot", "hat"], 20)


def kept(cache: Path) -> set[str]:
    """The contents whose pixels are in the cache, in any format."""
    return {digest for path in cache.glob("*.pixels") for digest in read_digests(path)}


def test_each_order_is_carried_out_on_the_photos_that_are_there(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    store = Store(photos, tmp_path)
    assert (store.counts(), store.counts(), store.told) == ([32, 4, 4], [32, 4, 4], [])
    # another run's format, which no order asks for any more
    open_folder(photos, image_size=24, channels=1)
    draw_photos(tmp_path / "more", ["boot", "hat"], 10, seed=5)
    for name in ("boot", "hat"):
        for number, file in enumerate((tmp_path / "more" / name).iterdir()):
            shutil.copy(file, photos / name / f"more-{number}.png")
    assert store.counts() == [48, 6, 6]
    assert store.told == ["The photos have changed: 20 added."]
    before = kept(cache)
    for name in ("boot", "hat"):
        for file in (photos / name).glob("more-*"):
            file.unlink()
    assert store.trained() == 32
    assert store.told[1:] == ["The photos have changed: 20 removed."]
    assert (len(before), len(kept(cache))) == (60, 40)


def test_photos_deleted_while_nothing_is_ordered_leave_the_cache_and_the_process(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    store = Store(photos, tmp_path)
    store.counts()
    open_folder(photos, image_size=24, channels=1)
    doomed = sorted((photos / "hat").iterdir())[:5]
    for file in doomed:
        file.unlink()
    store.worker.check_changes()
    assert len(kept(cache)) == 35
    assert all(
        str(file) not in index.read_text() for file in doomed for index in cache.glob("*.json")
    )
    assert mapped(cache) == []
    assert sum(store.counts()) == 35


def mapped(cache: Path) -> list[str]:
    """Pixel files of which this process still has pages, present ones or removed ones."""
    maps = Path("/proc/self/maps")
    return (
        [line for line in maps.read_text().splitlines() if str(cache) in line]
        if maps.exists()
        else []
    )


def test_a_photo_that_is_replaced_by_one_of_the_same_size_and_time_is_trained_on_instead(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    store = Store(photos, tmp_path)
    store.counts()
    one = photos / "hat" / "0.png"
    before = kept(cache)
    status = one.stat()
    content = bytearray(one.read_bytes())
    content[-1] ^= 1  # in the end chunk's checksum, which no decoder looks at
    one.write_bytes(content)
    os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert sum(store.counts()) == 40
    assert store.told == ["The photos have changed: 1 changed."]
    assert len(kept(cache)) == 40
    assert len(before & kept(cache)) == 39


def test_unchanged_photos_give_the_same_images_in_the_same_place(
    photos: Path, tmp_path: Path
) -> None:
    newest = max(path.stat().st_ctime_ns for path in photos.rglob("*"))
    wait_for(lambda: time.time_ns() > newest + SETTLED_NS)
    store = Store(photos, tmp_path)
    first = store.source.open(PLAN)
    assert store.source.open(PLAN) is first
    (photos / "hat" / "new.png").write_bytes((photos / "hat" / "0.png").read_bytes())
    (photos / "hat" / "new.png").unlink()
    again = store.source.open(PLAN)
    assert torch.equal(again.train.rows, first.train.rows)
    assert torch.equal(again.train.inputs, first.train.inputs)


def test_a_new_class_and_one_that_is_gone_are_told(photos: Path, tmp_path: Path) -> None:
    store = Store(photos, tmp_path)
    store.trained()
    shutil.rmtree(photos / "hat")
    assert store.trained() == 16
    assert store.told == [
        "The photos have changed: 20 removed.",
        "The classes have changed: 'hat' has no photo left.",
    ]
    draw_photos(photos, ["scarf"], 3)
    with pytest.raises(StoreError, match="'scarf' is not one of the run's 2 classes") as refused:
        store.trained()
    assert refused.value.code == "unknown-class"
    assert (
        "'scarf' is new, and a run that does not know it cannot use this store's photos"
        in store.told[-1]
    )


def not_mounted(photos: Path, elsewhere: Path) -> None:
    """Move the photos away and leave an empty folder in their place, as a disk does that is not
    mounted.
    """
    photos.rename(elsewhere)
    photos.mkdir()


def without_a_disk(photos: Path, elsewhere: Path) -> None:
    """Move one class to another disk, which a link leads to and which is not there."""
    (photos / "hat").rename(elsewhere)
    (photos / "hat").symlink_to(elsewhere.parent / "no-disk")


@pytest.mark.parametrize(
    "lose", [lambda photos, elsewhere: photos.rename(elsewhere), not_mounted, without_a_disk]
)
def test_photos_that_cannot_be_reached_are_neither_used_nor_forgotten(
    photos: Path, tmp_path: Path, cache: Path, lose: Callable[[Path, Path], object]
) -> None:
    store = Store(photos, tmp_path)
    store.trained()
    before = kept(cache)
    original = tmp_path / "original"
    shutil.copytree(photos, original)
    lose(photos, tmp_path / "elsewhere")
    for _ in range(2):
        with pytest.raises(StoreError, match="cannot be reached") as refused:
            store.trained()
    assert (refused.value.code, refused.value.detail) == ("data", "photos-unreachable")
    assert (kept(cache), mapped(cache), len(store.told)) == (before, [], 1)
    if photos.exists():
        shutil.rmtree(photos)
    shutil.copytree(original, photos)  # the disk is back
    (photos / "boot" / "0.png").unlink()
    assert sum(store.counts()) == 39
    assert kept(cache) < before  # the photo that was deleted meanwhile is gone
    assert len(kept(cache)) == 39


def test_a_store_that_starts_while_its_disk_is_away_forgets_nothing(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    newest = max(path.stat().st_ctime_ns for path in photos.rglob("*"))
    wait_for(lambda: time.time_ns() > newest + SETTLED_NS)
    Store(photos, tmp_path).trained()
    before = kept(cache)
    not_mounted(photos, tmp_path / "elsewhere")
    store = Store(photos, tmp_path)
    store.source.forget_deleted()
    with pytest.raises(StoreError, match="cannot be reached"):
        store.trained()
    assert kept(cache) == before
    photos.rmdir()
    (tmp_path / "elsewhere").rename(photos)
    assert store.trained() == 32
    assert kept(cache) == before


def test_pixels_of_photos_that_cannot_be_reached_for_a_week_are_forgotten(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    store = Store(photos, tmp_path)
    store.trained()
    before = kept(cache)
    photos.rename(tmp_path / "elsewhere")
    store.worker.check_changes()
    assert kept(cache) == before
    (since,) = cache.glob("*.unreachable")
    week_ago = time.time() - UNREACHABLE_SECONDS - 1
    os.utime(since, (week_ago, week_ago))
    store.worker.check_changes()
    assert list(cache.iterdir()) == []


def test_the_last_photos_of_a_folder_that_stays_leave_at_once(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    store = Store(photos, tmp_path)
    store.trained()
    for name in ("boot", "hat"):
        shutil.rmtree(photos / name)
    with pytest.raises(DataError, match="No usable image"):
        store.trained()
    assert (kept(cache), mapped(cache)) == (set(), [])
    with pytest.raises(DataError, match="No usable image"):
        Store(photos, tmp_path).trained()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_class_folder_that_may_not_be_read_is_not_an_empty_one(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    store = Store(photos, tmp_path)
    store.trained()
    before = kept(cache)
    (photos / "hat").chmod(0)
    try:
        with pytest.raises(StoreError, match="hat: Permission denied"):
            store.trained()
    finally:
        (photos / "hat").chmod(0o700)
    assert kept(cache) == before
    assert store.trained() == 32


def test_photos_of_a_csv_file_are_looked_at_likewise(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    table = photos / "list.csv"
    names = [f"{name}/{number}.png,{name}" for name in ("boot", "hat") for number in range(20)]
    table.write_text("\n".join(["image,label", *names, "hat/later.png,hat"]) + "\n")
    store = Store(table, tmp_path)
    assert sum(store.counts()) == 40
    (photos / "boot" / "0.png").unlink()
    assert sum(store.counts()) == 39
    (photos / "hat" / "later.png").write_bytes((photos / "hat" / "0.png").read_bytes())
    assert sum(store.counts()) == 40
    table.write_text("\n".join(["image,label", *names[10:]]) + "\n")
    assert sum(store.counts()) == 30
    assert store.told == [
        "The photos have changed: 1 removed.",
        "The photos have changed: 1 added.",
        "The photos have changed: 10 removed.",
    ]
    assert len(kept(cache)) == 30


def test_the_cache_is_for_this_user_only_also_where_it_was_not(
    photos: Path, tmp_path: Path, cache: Path
) -> None:
    cache.mkdir(parents=True, mode=0o755)
    cache.chmod(0o755)
    Store(photos, tmp_path).trained()
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in cache.iterdir()} == {0o600}
    assert forget_all() > 32 * 16 * 16 * 3
    assert list(cache.iterdir()) == []
