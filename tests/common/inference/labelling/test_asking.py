"""The photos that are worth a person's time."""

import numpy as np

from fedshelf.common.inference.labelling.asking import margin, worth_asking


def two_classes(best: list[float]) -> np.ndarray:
    return np.array([[share, 1 - share] for share in best], np.float32)


def test_the_margin_is_between_the_two_best() -> None:
    assert margin(np.array([[0.5, 0.25, 0.125]], np.float32)).tolist() == [0.25]


def test_the_least_certain_photo_comes_first_and_none_twice() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet(np.ones(4), 60).astype(np.float32)
    embeddings = generator.normal(size=(60, 8)).astype(np.float32)
    chosen = worth_asking(probabilities, embeddings, 10)
    margins = margin(probabilities)
    assert chosen[0] == margins.argmin()
    assert len({*chosen.tolist()}) == 10


def test_of_near_duplicates_one_is_asked() -> None:
    directions = np.eye(3, dtype=np.float32)
    embeddings = np.repeat(directions, 3, axis=0)  # three photos of each of three things
    chosen = worth_asking(two_classes([0.5, 0.51, 0.52] * 3), embeddings, 3)
    assert {*(chosen // 3).tolist()} == {0, 1, 2}


def test_sure_photos_are_not_asked_however_odd() -> None:
    angles = np.linspace(0, np.pi / 2, 20)
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    embeddings[0] = -1  # far from all others
    chosen = worth_asking(two_classes([0.999] + [0.6] * 19), embeddings, 3)
    assert chosen.tolist() == [1, 19, 10]  # both ends of the others, and their middle


def test_more_than_there_are_is_all() -> None:
    chosen = worth_asking(two_classes([0.9, 0.6]), np.ones((2, 2), np.float32), 50)
    assert sorted(chosen.tolist()) == [0, 1]
