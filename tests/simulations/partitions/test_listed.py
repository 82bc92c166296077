"""A split that a file lists is taken as it stands, or refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.published.niid_splits import DRAWS
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.simulations.federation.federation import build
from fedshelf.simulations.partitions import partition
from fedshelf.simulations.partitions.matching_split import assign_alike

LABELS = np.array([0, 0, 1, 1, 2, 2])


def listed(tmp_path: Path, content: object) -> str:
    path = tmp_path / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return f"file:{path}"


@pytest.mark.parametrize("content", [[[5, 0], [2, 1, 3]], {"rome": [5, 0], "oslo": [2, 1, 3]}])
def test_each_store_gets_its_images(tmp_path: Path, content: object) -> None:
    for seed in (0, 1):  # nothing is drawn
        parts = partition(listed(tmp_path, content), LABELS, 2, seed=seed)
        assert [part.tolist() for part in parts] == [[0, 5], [1, 2, 3]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ([[0], [1], [2]], "lists the images of 3 stores, but data.stores is 2; set data.stores=3"),
        ([[0, 6], [1]], "lists image 6 for store 0; the data set has training images 0 to 5"),
        ([[0], [-1]], "lists image -1 for store 1"),
        ([[0, 1], [1]], "lists image 1 2 times; expected each image at one store"),
        ([[0, 1.0], [2]], "has another form; expected a list of positions for each store"),
        ([[True], [2]], "has another form"),
        ([[10**30], [2]], "has another form"),
        ([], "has another form"),
        ("[[0,", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ([[0, 1, 2], []], "leaves one with 0 images"),
    ],
)
def test_another_file_is_one_clear_sentence(tmp_path: Path, content: object, sentence: str) -> None:
    with pytest.raises(ConfigError) as raised:
        partition(listed(tmp_path, content), LABELS, 2, seed=0)
    assert sentence in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Cannot read .*none.json: No such file"):
        partition(f"file:{tmp_path / 'none.json'}", LABELS, 2, seed=0)


def test_images_at_no_store_lead_nobody_and_are_told(tmp_path: Path) -> None:
    parts = partition(listed(tmp_path, [[0], [2, 3]]), LABELS, 2, seed=0)
    validation = assign_alike(parts, LABELS, np.array([0, 0, 1, 1]), np.random.default_rng(0))
    assert [rows.tolist() for rows in validation] == [[0, 1], [2, 3]]
    config = resolve(
        {"data.partition": listed(tmp_path, [[0, 1, 1000], [3, 999]]), "data.stores": 2}
    )
    federation = build(config, image_size=16, channels=3)
    assert sum(map(sum, federation.table.values())) == 5
    assert "training images are at no store." in federation.left_out


@pytest.mark.parametrize(
    ("name", "parameter", "sizes"),
    [
        # NIID-Bench's partition_data with --init_seed 0 on CIFAR-10
        ("dirichlet", 0.5, [5307, 3688, 4435, 5047, 5189, 3803, 5202, 4325, 8078, 4926]),
        ("labels", 2, [4167, 6667, 7500, 4167, 4167, 5000, 3332, 5000, 5000, 5000]),
        ("quantity", 0.5, [3901, 25, 174, 3079, 2770, 9374, 6256, 5140, 1741, 17540]),
    ],
)
def test_the_splits_of_niid_bench_are_drawn_again(
    name: str, parameter: float, sizes: list[int]
) -> None:
    labels = np.repeat(np.arange(10), 5000)
    parts = DRAWS[name](labels, 10, 0, parameter)
    assert [len(part) for part in parts] == sizes
    assert sorted(image for part in parts for image in part) == list(range(50_000))
