"""Partitions: every image goes to exactly one store, and each way keeps its own promise."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fedshelf.common.errors import ConfigError
from fedshelf.simulations.partitions import FAMILIES, FOLDER_PARTITION, parse_partition, partition

DRAWN = {name: family for name, family in FAMILIES.items() if name != "file"}
SPECS = [f"{name}:{family.example}" if family.parameter else name for name, family in DRAWN.items()]


def balanced(classes: int, each: int) -> np.ndarray:
    return np.tile(np.arange(classes), each)


@pytest.mark.parametrize("spec", SPECS)
@settings(max_examples=25, deadline=None)
@given(
    stores=st.integers(1, 30),
    classes=st.integers(2, 12),
    each=st.integers(30, 60),
    minimum=st.integers(1, 2),
    seed=st.integers(0, 2**40),
)
def test_every_image_goes_to_one_store(spec, stores, classes, each, minimum, seed):
    labels = balanced(classes, each)
    assume(spec != "labels:2" or stores * 2 >= classes)
    parts = partition(spec, labels, stores, minimum=minimum, seed=seed)
    assert len(parts) == stores
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    assert all(len(part) >= minimum and (np.diff(part) > 0).all() for part in parts)
    again = partition(spec, labels, stores, minimum=minimum, seed=seed)
    assert all((one == other).all() for one, other in zip(parts, again, strict=True))


@pytest.mark.parametrize("spec", SPECS)
def test_another_seed_gives_another_split(spec):
    labels = balanced(5, 40)
    first, second = (partition(spec, labels, 5, seed=seed) for seed in (1, 2))
    assert any(one.tolist() != other.tolist() for one, other in zip(first, second, strict=True))


def test_iid_sizes_differ_by_one_at_most():
    sizes = [len(part) for part in partition("iid", balanced(2, 11), 4, seed=0)]
    assert sorted(sizes) == [5, 5, 6, 6]


@settings(max_examples=50, deadline=None)
@given(stores=st.integers(1, 40), k=st.integers(1, 10), seed=st.integers(0, 2**40))
def test_labels_gives_each_store_exactly_k_classes(stores, k, seed):
    labels = balanced(10, 40)
    if stores * k < 10:
        with pytest.raises(ConfigError, match="of the 10 classes"):
            partition(f"labels:{k}", labels, stores, seed=seed)
        return
    parts = partition(f"labels:{k}", labels, stores, seed=seed)
    assert [len(np.unique(labels[part])) for part in parts] == [k] * stores


def test_labels_deals_a_class_in_equal_parts():
    labels = balanced(2, 10)
    parts = partition("labels:1", labels, 4, seed=3)
    assert [np.bincount(labels[part], minlength=2).tolist() for part in parts] == [
        [5, 0],
        [0, 5],
        [5, 0],
        [0, 5],
    ]


def test_shards_are_runs_of_the_sorted_images():
    labels = balanced(10, 60)  # as in McMahan et al.: 2 shards a store, here of 30 images
    parts = partition("shards:2", labels, 10, seed=0)
    assert [len(part) for part in parts] == [60] * 10
    for part in parts:
        counts = np.bincount(labels[part], minlength=10)
        assert set(counts) <= {0, 30, 60}


def test_dirichlet_skews_classes_more_with_a_smaller_alpha():
    labels = balanced(10, 100)

    def largest_share(alpha: float) -> float:
        parts = partition(f"dirichlet:{alpha}", labels, 10, seed=0)
        return float(np.mean([np.bincount(labels[part]).max() / len(part) for part in parts]))

    assert largest_share(1000) < 0.2 < largest_share(0.5) < 0.6 < largest_share(0.01)


def test_quantity_skews_sizes_but_not_classes():
    labels = balanced(2, 5000)
    parts = partition("quantity:0.5", labels, 5, minimum=200, seed=0)
    sizes = [len(part) for part in parts]
    assert max(sizes) > 3 * min(sizes)
    assert all(abs(labels[part].mean() - 0.5) < 0.15 for part in parts)


@pytest.mark.parametrize("spec", ["dirichlet:0.01", "quantity:0.01"])
def test_a_minimum_that_no_draw_meets_is_met_by_topping_up(spec):
    labels = balanced(10, 100)
    sizes = [len(part) for part in partition(spec, labels, 100, minimum=10, seed=0)]
    assert sizes == [10] * 100  # 1,000 images over 100 stores: the minimum leaves no choice of size


@pytest.mark.parametrize("spec", SPECS)
def test_ten_thousand_stores(spec):
    labels = balanced(10, 5000)
    parts = partition(spec, labels, 10_000, seed=0)
    assert min(map(len, parts)) >= 1
    assert sum(map(len, parts)) == 50_000


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("dirichelt:0.5", "Did you mean dirichlet?"),
        ("random", "allowed: iid, dirichlet:ALPHA, shards:K, labels:K, quantity:ALPHA, file:PATH"),
        ("dirichlet", "ALPHA=''; allowed: a number above 0, for example dirichlet:0.5"),
        ("dirichlet:-1", "ALPHA='-1'"),
        ("quantity:nan", "ALPHA='nan'"),
        ("shards:1.5", "K='1.5'; allowed: a whole number from 1, for example shards:2"),
        ("labels:0", "K='0'"),
        ("iid:3", "takes no parameter; write iid"),
        ("file", "names no file; write file:PATH"),
        ("folder:x", "Unknown partition 'folder:x'"),
    ],
)
def test_a_bad_spec_is_one_clear_sentence(spec, sentence):
    with pytest.raises(ConfigError) as raised:
        parse_partition(spec)
    assert sentence in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "stores", "minimum", "sentence"),
    [
        ("iid", 21, 1, "20 training images cannot give 21 stores at least 1 each"),
        ("shards:3", 10, 1, "needs at least 30 images"),
        ("labels:3", 2, 1, "asks for 3 classes a store; the data set has 2"),
        ("labels:2", 11, 1, "gives class 0 to 11 stores, but it has only 10 images"),
        ("labels:1", 5, 4, "leaves one with 3 images"),
    ],
)
def test_a_split_that_cannot_be_is_refused(spec, stores, minimum, sentence):
    with pytest.raises(ConfigError) as raised:
        partition(spec, balanced(2, 10), stores, minimum=minimum, seed=0)
    assert sentence in str(raised.value)


def test_folder_leaves_the_split_to_the_folders():
    assert parse_partition(FOLDER_PARTITION) is None
