"""Predictions for frames."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.common.images.decoding.decode import decode, squeeze
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.predictors.predictor import Predictor
from fedshelf.common.inference.video.frames import Frame
from fedshelf.common.inference.video.observations import observe
from fedshelf.common.inference.video.zone import parse_zone
from tests.helpers.photo_files import encoded
from tests.helpers.videos import picture, save_colour_model


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    return load(save_colour_model(tmp_path / "model"), "cpu")


def frames(*colours: str) -> Iterator[Frame]:
    for second, colour in enumerate(colours):
        yield Frame(second, picture(colour))


def test_a_frame_is_predicted_as_a_photo_of_the_same(predictor: Predictor) -> None:
    shown = picture("red")
    photo = decode(encoded(shown, "PNG"), predictor.pixel_format)
    assert np.array_equal(squeeze(shown, predictor.pixel_format), photo)
    (seen,) = observe(predictor, [Frame(3, shown)])
    assert seen.seconds == 3
    assert np.array_equal(
        seen.probabilities, predictor.predict(photo[None].copy()).probabilities[0]
    )


def test_batches_change_nothing(predictor: Predictor) -> None:
    colours = ["red", "blue", "grey", "red", "red"]
    for batch in (1, 2, 5, 8):
        seen = list(observe(predictor, frames(*colours), batch=batch))
        assert [entry.outcome for entry in seen] == [0, 1, 2, 0, 0]
        assert [entry.seconds for entry in seen] == [0, 1, 2, 3, 4]


def test_frames_before_an_error_are_told(predictor: Predictor) -> None:
    def ending() -> Iterator[Frame]:
        yield from frames("red", "blue", "red")
        raise ConfigError("the end")

    seen = observe(predictor, ending(), batch=2)
    assert [next(seen).outcome for _ in range(3)] == [0, 1, 0]
    with pytest.raises(ConfigError, match="the end"):
        next(seen)


def test_a_zone_alone_is_looked_at(predictor: Predictor) -> None:
    both = picture("red")
    both.paste(picture("blue", 16, 48), (0, 0))
    (seen,) = observe(predictor, [Frame(0, both)], parse_zone("0,0,0.25,1"))
    assert seen.outcome == 1
    (seen,) = observe(predictor, [Frame(0, both)], parse_zone("0.25,0,0.75,1"))
    assert seen.outcome == 0
