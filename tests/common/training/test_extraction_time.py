"""The expected time of an extraction, from readings of a clock that a reader can follow."""

import pytest

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.training.extraction_time import ExtractionTime, describe_time


def config(**settings: object) -> RunConfig:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return resolve({"run.recipe": "ridge", "data.image_size": 288} | given)


def told(settings: RunConfig, *, images: int, seconds_each: float, sets: int = 1) -> list[str]:
    """The sentences on sets of images, each of which takes equally long."""
    now = [100.0]
    expected = ExtractionTime(settings, clock=lambda: now[0])
    sentences = []
    for _ in range(sets):
        for done in range(1, images + 1):
            now[0] += seconds_each
            sentences.append(expected.tell(done, images))
    return list(filter(None, sentences))


def test_the_time_of_the_images_that_are_left() -> None:
    # 65 of 1,065 images are done, the others take a quarter of a second each
    assert told(config(), images=1065, seconds_each=0.25) == [
        "This takes about 4 min 10 s at the speed of the first images."
    ]
    assert told(config(), images=275, seconds_each=0.25) == []  # 52.5 s
    assert told(config(), images=64, seconds_each=100.0) == []  # nothing to go by


def test_each_set_has_a_line_of_its_own() -> None:
    assert len(told(config(), images=1065, seconds_each=0.25, sets=2)) == 2


def test_a_long_time_comes_with_a_choice() -> None:
    # 1,000 s at 288 pixels are 1,000 x (160 / 288)^2 = 308.6 s at 160
    (sentence,) = told(config(), images=1065, seconds_each=1.0)
    assert sentence.startswith("This takes about 16 min 40 s ")
    assert "(--set data.image_size=160) it would take about 5 min 9 s" in sentence


@pytest.mark.parametrize(
    "settings",
    [
        {"data__image_size": 160},
        {"run__recipe": "none"},  # of other networks nothing was measured
        {"model__resume_from": "runs/a"},  # the model to go on from has a size
    ],
)
def test_a_time_without_a_choice(settings: dict[str, object]) -> None:
    assert told(config(**settings), images=1065, seconds_each=1.0) == [
        "This takes about 16 min 40 s at the speed of the first images."
    ]


def test_a_store_is_told_whose_option_it_is() -> None:
    now = iter([0.0, 64.0])
    expected = ExtractionTime(config(), "the server's", clock=lambda: next(now))
    assert expected.tell(1, 1065) == ""
    assert "(the server's --set data.image_size=160)" in expected.tell(65, 1065)


@pytest.mark.parametrize(("seconds", "is_told"), [(59.9, False), (60.0, True)])
def test_short_times_are_not_told(seconds: float, is_told: bool) -> None:
    assert bool(describe_time(seconds, 288, "")) == is_told
