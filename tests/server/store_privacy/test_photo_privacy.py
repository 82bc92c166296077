import pytest

from fedshelf.common.config import resolve
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.server.formatting import describe_photo_privacy
from fedshelf.server.store_privacy.photo_privacy import PHOTO_RECORD_KEY, announce, record

PRIVATE = {
    "privacy.clip": 1.0,
    "privacy.noise": 0.8,
    "privacy.rate": 0.2,
    "privacy.steps": 10,
    "run.rounds": 20,
}


def announced(**changed: object) -> list[str]:
    notes: list[str] = []
    settings = {key.replace("__", "."): value for key, value in changed.items()}
    announce(resolve({**PRIVATE, **settings}), notes.append)
    return notes


def test_the_record_has_the_epsilon_of_all_rounds_so_far() -> None:
    told = epsilon([SampledGaussian(0.8, 0.2, 30)], 1e-5)
    entry = record(resolve(PRIVATE), 3)
    assert entry == {PHOTO_RECORD_KEY: {"epsilon": told, "delta": 1e-5}}
    assert describe_photo_privacy(entry) == (
        f"Differential privacy of a photo: epsilon {told:.3g} at delta 1e-05, if its store trained"
        " in all rounds."
    )


def test_a_run_without_noise_says_nothing_of_an_epsilon() -> None:
    for bare in ({"privacy.clip": 0.0}, {"privacy.noise": 0.0}):
        assert record(resolve({**PRIVATE, **bare}), 3) == {}
        assert describe_photo_privacy(record(resolve({**PRIVATE, **bare}), 3)) == ""
    (note,) = announced(privacy__noise=0.0)
    assert "not private" in note
    assert announced(privacy__clip=0.0) == []


def test_a_weak_claim_comes_with_the_noise_that_makes_a_useful_one() -> None:
    (weak,) = announced()
    noise = float(weak.partition("privacy.noise=")[2].removesuffix("."))
    assert epsilon([SampledGaussian(noise, 0.2, 200)], 1e-5) == pytest.approx(8, rel=0.02)
    (useful,) = announced(privacy__noise=2 * noise)
    assert "if its store trains in all 20 rounds." in useful
    assert "privacy.noise" not in useful
