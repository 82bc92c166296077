"""Federations: all images dealt, stores alike in any order, and folders of stores as they are."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from fedshelf.common.config import resolve
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import content_digest
from fedshelf.simulations.federation.federation import Federation, build, store_names
from fedshelf.simulations.federation.tables import partition_table
from fedshelf.simulations.partitions.matching_split import assign_alike


def federation(size: int = 32, **data) -> Federation:
    return build(
        resolve({f"data.{key}": value for key, value in data.items()}), image_size=size, channels=3
    )


def photograph(path: Path, number: int) -> None:
    """A photo unlike any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def chain(root: Path) -> Path:
    """Two stores that hold different classes, 20 photos of each, and a test folder."""
    stores = {"paris": ("hat", "shoe"), "rome": ("coat", "hat"), "test": ("coat", "hat", "shoe")}
    for place, (name, classes) in enumerate(stores.items()):
        for column, label in enumerate(classes):
            for number in range(20):
                photograph(
                    root / name / label / f"{number}.png", 1000 * place + 100 * column + number
                )
    return root


def test_stores_share_out_the_training_images():
    dealt = federation(dataset="shelf", stores=7, partition="dirichlet:0.5")
    assert list(dealt.stores) == [f"store-{number}" for number in range(7)]
    rows = torch.cat([data.train.rows for data in dealt.stores.values()])
    assert sorted(rows.tolist()) == list(range(4000))
    assert len(dealt.test) == 1000
    for name, data in dealt.stores.items():
        assert Counter(data.train.targets().tolist()) == {
            k: n for k, n in enumerate(dealt.table[name]) if n
        }
        assert len(data.validation) == len(data.test) == 0


def test_a_single_class_to_train_on_is_refused(tmp_path: Path):
    for number in range(20):
        photograph(tmp_path / "one" / "hat" / f"{number}.png", number)
    with pytest.raises(
        DataError,
        match=r"one has training images of 1 product class\(es\) \(hat\); a classifier needs",
    ):
        federation(dataset=str(tmp_path / "one"), stores=2)
    (tmp_path / "one" / "coat").mkdir()  # a class of which there is no photo
    with pytest.raises(DataError, match=r"1 product class\(es\) \(hat\)"):
        federation(dataset=str(tmp_path / "one"), stores=2, classes=("coat", "hat"))
    for name in ("paris", "rome"):
        for number in range(20):
            photograph(tmp_path / "chain" / name / "hat" / f"{number}.png", number)
    with pytest.raises(DataError, match=r"1 product class\(es\) \(hat\)"):
        federation(dataset=str(tmp_path / "chain"), partition="folder")


def test_a_share_of_each_store_is_held_out():
    whole = federation(dataset="shelf", stores=3, partition="quantity:1")
    held = federation(dataset="shelf", stores=3, partition="quantity:1", holdout=0.25)
    for name, data in held.stores.items():
        before = whole.stores[name].train.rows
        assert len(data.validation) == len(before) // 4
        assert (
            torch.cat([data.train.rows, data.validation.rows]).sort().values.tolist()
            == before.tolist()
        )
    everything = federation(dataset="shelf", stores=3, holdout=1.0)
    assert [len(data.train) for data in everything.stores.values()] == [1, 1, 1]


def test_validation_images_follow_the_training_images(tmp_path):
    number = 0
    for split, count in (("train", 12), ("validation", 6), ("test", 2)):
        for label in ("coat", "hat", "shoe"):
            for _ in range(count):
                photograph(tmp_path / split / label / f"{number}.png", number)
                number += 1
    dealt = federation(8, dataset=str(tmp_path), stores=3, partition="labels:1", holdout=0.5)
    for data in dealt.stores.values():
        assert len(data.train) == 12
        assert len(data.validation) == 6
        assert data.train.targets().unique().tolist() == data.validation.targets().unique().tolist()
    assert len(dealt.test) == 6


def test_follow_deals_every_image_in_the_proportions_of_the_first_split():
    labels = np.repeat([0, 1], [8, 4])
    # class 0: 6 to 2; class 1: 1 to 3
    parts = [np.array([0, 1, 2, 3, 4, 5, 8]), np.array([6, 7, 9, 10, 11])]
    others = np.repeat([0, 1, 2], [8, 4, 1])
    rows = assign_alike(parts, labels, others, np.random.default_rng(0))
    assert sorted(np.concatenate(rows)) == list(range(13))
    assert [np.bincount(others[part], minlength=3)[:2].tolist() for part in rows] == [
        [6, 1],
        [2, 3],
    ]


def test_a_folder_of_stores_is_taken_as_it_is(tmp_path):
    found = federation(8, dataset=str(chain(tmp_path)), partition="folder")
    assert found.classes == ("coat", "hat", "shoe")
    assert list(found.stores) == ["paris", "rome"]
    for name, labels in (("paris", {1, 2}), ("rome", {0, 1})):
        data = found.stores[name]
        parts = [data.train, data.validation, data.test]
        assert sum(map(len, parts)) == 40
        assert {label for part in parts for label in part.targets().tolist()} == labels
        assert sum(found.table[name]) == len(data.train)
    assert torch.bincount(found.test.targets()).tolist() == [20, 20, 20]


def test_chosen_classes_order_the_labels_of_all_stores(tmp_path):
    classes = ("shoe", "hat", "coat", "bag")
    found = federation(8, dataset=str(chain(tmp_path)), partition="folder", classes=classes)
    assert found.classes == classes
    assert found.table["paris"][2:] == [0, 0]
    assert torch.bincount(found.test.targets(), minlength=4).tolist() == [20, 20, 20, 0]


def test_a_folder_that_holds_no_stores_is_one_clear_sentence(tmp_path):
    def refusal(path: Path, **data) -> str:
        with pytest.raises(DataError) as raised:
            federation(8, dataset=str(path), partition="folder", **data)
        return str(raised.value)

    assert "to be a folder of stores, or a CSV file with a column store; got 'shelf'" in refusal(
        Path("shelf")
    )
    (tmp_path / "empty").mkdir()
    assert "it has no sub-folder" in refusal(tmp_path / "empty")
    photograph(tmp_path / "one" / "train" / "hat" / "1.png", 1)
    photograph(tmp_path / "one" / "test" / "hat" / "1.png", 2)
    assert "only test, train, which are the splits of one data set" in refusal(tmp_path / "one")
    photograph(tmp_path / "flat" / "hat" / "1.png", 1)
    assert "hat holds photos directly: leave --partition folder out" in refusal(tmp_path / "flat")
    sentence = refusal(chain(tmp_path / "chain"), classes=("hat", "shoe"))
    assert (
        "Store rome has images of class 'coat', which is not among the classes hat, shoe"
        in sentence
    )
    assert "at least 500 are expected" in refusal(tmp_path / "chain", min_images=500)


@pytest.mark.parametrize("test", ["", "test", "Evaluation"])
def test_a_folder_of_stores_without_the_partition_folder_is_one_clear_sentence(tmp_path, test):
    stores = chain(tmp_path)
    (stores / "test").rename(stores / test) if test else shutil.rmtree(stores / "test")
    with pytest.raises(DataError) as raised:
        federation(8, dataset=str(stores))
    sentence = str(raised.value)
    assert "folders of folders (paris and rome; paris holds hat and shoe)" in sentence
    assert "if each of them is a store, add --partition folder;" in sentence
    found = federation(8, dataset=str(stores), partition="folder")
    assert (list(found.stores), found.test is not None) == (["paris", "rome"], bool(test))
    assert federation(8, dataset=str(stores / "paris"), stores=2).classes == ("hat", "shoe")


def test_classes_whose_photos_lie_deeper_are_named(tmp_path):
    for number, place in enumerate(("hat/front", "hat/back", "shoe/front", "shoe/back")):
        photograph(tmp_path / place / "1.png", number)
    with pytest.raises(DataError, match="if each is a class, name them in data"):
        federation(8, dataset=str(tmp_path), stores=1)
    assert federation(8, dataset=str(tmp_path), stores=1, classes=("hat", "shoe")).table == {
        "store-0": [2, 2]
    }


@pytest.mark.parametrize("folder", ["val", "Training"])
def test_a_split_beside_stores_is_no_store(tmp_path, folder):
    photograph(chain(tmp_path) / folder / "hat" / "1.png", 1)
    with pytest.raises(DataError, match=f"found {folder} beside the stores"):
        federation(8, dataset=str(tmp_path), partition="folder")


def test_a_class_that_nobody_trains_on_is_named(tmp_path):
    for number, place in enumerate(
        ("train/hat", "train/shoe", "test/hat", "test/shoe", "test/umbrella")
    ):
        photograph(tmp_path / place / "1.png", number)
    found = federation(8, dataset=str(tmp_path), stores=1)
    assert "only images held out, of umbrella." in found.left_out
    assert found.left_out.endswith("No store has images of umbrella to train on.")


def test_the_split_of_an_earlier_version_is_kept_where_it_is_asked_for(tmp_path):
    stores = chain(tmp_path)
    now, earlier = (
        federation(8, dataset=str(stores), partition="folder", split=rule)
        for rule in ("class", "hash")
    )
    assert {name: len(data.validation) for name, data in now.stores.items()} == {
        "paris": 4,
        "rome": 4,
    }
    assert {name: len(data.test) for name, data in now.stores.items()} == {"paris": 4, "rome": 4}
    for name, data in earlier.stores.items():
        digests = [
            content_digest(path.read_bytes()) for path in sorted((stores / name).rglob("*.png"))
        ]
        places = [int.from_bytes(digest[:8]) / 2**64 for digest in digests]
        held = [row for row, place in enumerate(places) if place < 0.1]
        assert data.validation.rows.tolist() == held


def test_one_class_spelt_differently_at_two_stores(tmp_path):
    stores = chain(tmp_path)
    (stores / "rome" / "hat").rename(stores / "rome" / "Hat ")
    with pytest.raises(
        DataError, match=r"'Hat ' \(rome\) and 'hat' \(paris, test\); expected one spelling"
    ):
        federation(8, dataset=str(stores), partition="folder")
    found = federation(8, dataset=str(stores), partition="folder", merge_spellings=True)
    # 16 training images each, and the first in order
    assert found.classes == ("Hat ", "coat", "shoe")
    assert found.table == {"paris": [16, 0, 16], "rome": [16, 16, 0]}
    assert torch.bincount(found.test.targets()).tolist() == [20, 20, 20]


def test_one_class_spelt_differently_in_one_folder(tmp_path):
    for number, place in enumerate(("hat/1", "Hat/1", "hat/2", "shoe/1")):
        photograph(tmp_path / f"{place}.png", number)
    with pytest.raises(
        DataError,
        match="One class is spelt in several ways: 'Hat' and 'hat'; expected one spelling",
    ):
        federation(8, dataset=str(tmp_path), stores=1)
    found = federation(8, dataset=str(tmp_path), stores=1, merge_spellings=True)
    assert (found.classes, found.table) == (("hat", "shoe"), {"store-0": [3, 1]})
    found = federation(8, dataset=str(tmp_path), stores=1, classes=("Hat", "hat", "shoe"))
    assert found.table == {"store-0": [1, 2, 1]}


def test_thousands_of_stores_share_one_array():
    dealt = federation(dataset="shelf", stores=4000, partition="shards:1")
    parts = [
        part for data in dealt.stores.values() for part in (data.train, data.validation, data.test)
    ]
    assert len({part.inputs.data_ptr() for part in parts}) == 1
    assert [len(data.train) for data in dealt.stores.values()] == [1] * 4000


def test_names_are_padded_to_equal_width():
    assert store_names(1) == ["store-0"]
    assert store_names(11)[-2:] == ["store-09", "store-10"]


@pytest.mark.parametrize(
    ("table", "classes", "words"),
    [
        ({"paris": [3, 0], "rome": [1, 12]}, ("coat", "hat"), ["paris", "coat", "·", "12", "13"]),
        (
            {"rome": [1, 7, 300]},
            ("a long name " * 3, "c" * 20, "d" * 25),
            ["largest class", "d" * 25, "300", "308"],
        ),
        (
            {f"s{n}": [n, 1] for n in range(30)},
            ("coat", "hat"),
            ["30 stores", "median", "15.5", "30"],
        ),
        (
            {"rome": [1, 7] + [0] * 28},
            tuple(f"c{n}" for n in range(30)),
            ["largest class", "c1", "7", "8"],
        ),
    ],
)
def test_the_table_fits_a_screen(table, classes, words):
    console = Console(width=80)
    with console.capture() as captured:
        console.print(partition_table(Federation(classes, {}, None, table, ""), {}, console.width))
    text = captured.get()
    assert all(word in text for word in words)
    assert len(text.splitlines()) <= 25


def test_the_table_has_numbers_in_their_order_and_the_names_of_products():
    dealt = Federation(("10", "2", "[bold]"), {}, None, {"rome": [7, 5, 0], "oslo": [0, 9, 1]}, "")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(partition_table(dealt, {"10": "Chair"}, console.width))
    lines = captured.get().splitlines()
    assert next(line.split() for line in lines if "store" in line) == [
        "store",
        "2",
        "Chair",
        "[bold]",
        "all",
    ]
    assert next(line.split() for line in lines if "rome" in line) == ["rome", "5", "7", "·", "12"]
    numbers = Federation(("10", "2"), {}, None, {"rome": [7, 5]}, "")
    with console.capture() as captured:
        console.print(partition_table(numbers, {}, console.width))
    assert next(line.split() for line in captured.get().splitlines() if "store" in line) == [
        "store",
        "2",
        "10",
        "all",
    ]
