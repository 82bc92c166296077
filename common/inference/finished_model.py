"""A finished model for Python programs: `fedshelf.load(MODEL).predict(photos)`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from fedshelf.common import own_objects, plugins
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.inference.explain.occlusion import occlusion
from fedshelf.common.inference.explain.overlay import overlay
from fedshelf.common.inference.loading import load_all, onnx_file_of
from fedshelf.common.inference.predictors.photos import BATCH_SIZE, decode_file
from fedshelf.common.inference.predictors.predictor import Pixels, Predictor
from fedshelf.common.inference.predictors.verdicts import UNSURE_BELOW, Verdict, verdicts
from fedshelf.common.inference.search.index_file import read_index
from fedshelf.common.inference.search.query import Match, read_query, search
from fedshelf.common.wording import format_list

Item = TypeVar("Item")
Photo = str | PathLike[str] | Pixels
"""A file, or decoded pixels: uint8 [H, W, C], upright, transparent parts white."""


@dataclass(frozen=True)
class PhotoPrediction:
    """The model's answer for a photo.

    Attributes:
        label: the most probable class
        probability: its calibrated probability
        verdict: sure, unsure or unknown
        probabilities: of all classes, the most probable first
    """

    label: str
    probability: float
    verdict: Verdict
    probabilities: Mapping[str, float]


class FinishedModel:
    """A model, or several that answer together.

    Args:
        predictor: answers
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self._predictor.description.class_names

    def predict(
        self, photos: Iterable[Photo], unsure_below: float = UNSURE_BELOW
    ) -> list[PhotoPrediction]:
        """Return a prediction for each photo.

        Args:
            photos: files or pixels
            unsure_below: probability below which a photo is unsure, 0 to 1

        Raises:
            DataError: a photo cannot be used.
            ConfigError: pixels have another form than the model's.
        """
        found: list[PhotoPrediction] = []
        pixels = (self._pixels(photo) for photo in _one_by_one(photos))
        while batch := list(islice(pixels, BATCH_SIZE)):
            if len({photo.shape for photo in batch}) == 1:
                found += self._answers(np.stack(batch), unsure_below)
            else:
                found += [self._answers(photo[None], unsure_below)[0] for photo in batch]
        return found

    def explain(self, photo: Photo, label: str | None = None) -> Image.Image:
        """Return a photo, as the model sees it, with what speaks for a class in yellow and red.

        Args:
            photo: a file or pixels
            label: the class; None: the most probable one

        Raises:
            DataError: the photo cannot be used.
            ConfigError: there is no such class.
        """
        if label is not None and label not in self.classes:
            raise ConfigError(f"The model has no class {label!r}; its classes are {self.classes}.")
        pixels = self._pixels(photo)
        target = self.classes.index(label or self._answers(pixels[None], UNSURE_BELOW)[0].label)
        heat = occlusion(self._predictor, pixels, target)
        return overlay(Image.fromarray(pixels.squeeze()).convert("RGB"), heat)

    def similar(
        self, photos: Iterable[str | PathLike[str]], index: str | PathLike[str], count: int = 10
    ) -> list[Match]:
        """Return the indexed photos most like some photos, all of these together.

        Args:
            photos: files
            index: a file of `flower-client index`
            count: photos to return

        Raises:
            DataError: a photo or the index cannot be used, or the index is of another model.
        """
        found = read_index(Path(index))
        found.check_model(self._predictor.description, Path(index))
        query = [read_query(Path(photo), 1.0, self._predictor) for photo in _one_by_one(photos)]
        return search(found, query, count)

    def _pixels(self, photo: Photo) -> Pixels:
        form = self._predictor.pixel_format
        if isinstance(photo, str | PathLike):
            pixels = decode_file(Path(photo), form)
            if isinstance(pixels, NotUsableError):
                raise DataError(f"The photo {photo} cannot be used: {pixels}.")
            return pixels
        if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != form.channels:
            raise ConfigError(
                f"Got pixels of {photo.dtype} {list(photo.shape)}; expected uint8 [height,"
                f" width, {form.channels}]."
            )
        return photo

    def _answers(self, pixels: Pixels, unsure_below: float) -> list[PhotoPrediction]:
        predictions = self._predictor.predict(pixels)
        answers = []
        for row, verdict in zip(
            predictions.probabilities, verdicts(predictions, pixels, unsure_below), strict=True
        ):
            order = np.argsort(-row, kind="stable")
            told = {self.classes[index]: float(row[index]) for index in order}
            label = self.classes[order[0]]
            answers.append(PhotoPrediction(label, told[label], verdict, told))
        return answers


def open_finished(
    model: str | PathLike[str] | Sequence[str | PathLike[str]],
    device: str = "auto",
    *,
    network: Any = None,
) -> FinishedModel:
    """Return a model for use.

    Args:
        model: the directory of a run, its `model.safetensors`, an exported ONNX file, or a release;
            or several of them, which then answer together by the mean of their probabilities
        device: auto, cpu, mps, cuda or cuda:N
        network: a person's own network, of which one of them is; None: none is

    Raises:
        DataError: the model cannot be used.
        ConfigError: there is no such device, or a package is missing, or no model is of `network`.
    """
    paths = [Path(path) for path in ([model] if isinstance(model, str | PathLike) else model)]
    if network is not None:
        _register(network, paths)
    return FinishedModel(load_all(paths, device))


def _register(network: Any, paths: Sequence[Path]) -> None:
    """Make a person's own network known by the name that it has in the files of models.

    A class of a notebook may lie in a module by now, so its own name counts, not its module's.

    Raises:
        DataError: a model cannot be read.
        ConfigError: none is of a network of this name.
    """
    from fedshelf.common.models import saved  # loads torch

    names = [saved.read(path).spec.name for path in paths if onnx_file_of(path) is None]
    given = own_objects.name_of(network)
    fitting = [name for name in names if _own_part(name) == _own_part(given)]
    for name in fitting:
        own_objects.register(plugins.MODEL.group, name, network)
    if not fitting:
        found = ", ".join(dict.fromkeys(names)) or "an ONNX file, which needs none"
        raise ConfigError(
            f"The argument network got {given}, but the network of {format_list(paths)} is"
            f" {found}; give the class, function or module that the run was given as its model."
        )


def _own_part(name: str) -> str:
    """Return the last part of an object's name: `mylab.nets:Nets.Small` -> Small."""
    return name.rpartition(":")[2].rpartition(".")[2]


def _one_by_one(photos: Iterable[Item]) -> Iterator[Item]:
    """Yield photos. Raises ConfigError for one that stands in place of a list."""
    if isinstance(photos, str | PathLike):
        raise ConfigError(f"Got {photos} in place of a list of photos; expected [{str(photos)!r}].")
    yield from photos
