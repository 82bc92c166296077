"""A CSV file with a column of stores, as the stores of a simulation."""

from pathlib import Path

import pytest

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.scan import scan
from fedshelf.simulations import datasets
from fedshelf.simulations.federation.partitioned import pool_images
from fedshelf.simulations.partitions.folder import StoreFolders, open_stores
from tests.helpers.photo_files import noise, save
from tests.helpers.scene_files import annotation, coco_file, image, save_photo, save_text


def table(tmp_path: Path, rows: list[str], header: str = "image,label,store,split") -> Path:
    """A CSV file, and the photos that its lines name."""
    for number, row in enumerate(rows):
        save(tmp_path / row.partition(",")[0], noise(number))
    (tmp_path / "photos.csv").write_text("\n".join([header, *rows]))
    return tmp_path / "photos.csv"


def opened(path: Path) -> StoreFolders:
    return open_stores(path, PixelFormat(8), DataConfig(dataset=str(path), partition="folder"))


ROWS = [
    *(f"p/{number}.png,{'hat' if number % 2 else 'shoe'},paris,train" for number in range(5)),
    *(f"r/{number}.png,hat,rome,train" for number in range(3)),
    "r/9.png,hat,rome,val",
    "t/1.png,shoe,test,test",
]


def test_each_store_has_its_photos(tmp_path: Path) -> None:
    stores = opened(table(tmp_path, ROWS))
    assert stores.classes == ("hat", "shoe")
    assert {name: len(store.train) for name, store in stores.stores.items()} == {
        "paris": 5,
        "rome": 3,
    }
    assert stores.stores["paris"].train.targets().tolist() == [1, 0, 1, 0, 1]
    assert stores.stores["rome"].train.targets().tolist() == [0, 0, 0]
    assert len(stores.stores["rome"].validation) == 1
    assert stores.test is not None
    assert stores.test.targets().tolist() == [1]
    assert stores.left_out == ""


def test_one_photo_may_be_at_two_stores(tmp_path: Path) -> None:
    rows = ["a.png,hat,paris,train", "b.png,shoe,paris,train", "a.png,hat,rome,train"]
    stores = opened(table(tmp_path, rows)).stores
    assert {name: len(store.train) for name, store in stores.items()} == {"paris": 2, "rome": 1}


def test_with_another_partition_the_column_is_named(tmp_path: Path) -> None:
    path = table(tmp_path, ROWS)
    dataset = datasets.load(DataConfig(dataset=str(path), partition="iid"), PixelFormat(8))
    assert len(dataset.train) == 8
    assert dataset.left_out.endswith(
        "photos.csv: the column of stores counts with --partition folder only."
    )


def test_photos_without_a_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        DataError,
        match=r"expects .* to name a store for each photo; it has none for 1, such as r/9",
    ):
        opened(table(tmp_path, [row.replace("rome,val", ",val") for row in ROWS]))
    (tmp_path / "photos.csv").write_text("image,label\np/0.png,hat\n")
    assert len(scan(tmp_path / "photos.csv").photos) == 1
    with pytest.raises(DataError, match="it has no column store"):
        opened(tmp_path / "photos.csv")


def test_stores_of_scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each store has its own label format; pooled, the lists of boxes are of one length."""
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    chain = tmp_path / "chain"
    for number in range(10):
        save_photo(chain / f"oslo/images/{number}.png", 20 + number, 20)
        save_text(chain / f"oslo/labels/{number}.txt", "0 0.5 0.5 0.5 0.5\n")
        save_photo(chain / f"rome/{number}.png", 20 + number, 20)
    listed = [image(number, f"{number}.png", 20 + number, 20) for number in range(10)]
    boxes = [annotation(9, [1, 1, 5, 5]), annotation(9, [9, 9, 5, 5])]
    coco_file(chain / "rome/labels.json", listed, boxes)
    config = DataConfig(dataset=str(chain), partition="folder")
    found = open_stores(chain, PixelFormat(8), config, "boxes")
    assert (list(found.stores), found.classes) == (["oslo", "rome"], ("product",))
    sizes = [len(store.train) + len(store.test) for store in found.stores.values()]
    pooled = pool_images([store.train for store in found.stores.values()])
    assert pooled.annotations is not None
    assert pooled.annotations.shape[1:] == (2, 5)
    assert sizes == [9, 9]
    assert (pooled.annotations[:8, 0, 2] > 0).all()
