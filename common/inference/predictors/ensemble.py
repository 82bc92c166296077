"""Several models that answer together."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.predictor import Floats, Pixels, Predictions, Predictor

Combination = Literal["mean", "vote"]


class Ensemble:
    """Members of the same classes, in any architecture and image size.

    "mean" takes the mean of their probabilities, by the weights if there are any. "vote" names the
    class that most members name; of classes with equally many votes, the one with the higher mean
    probability. Its probabilities are the mean's as well. Where the elected class is not the
    first by them, the two change places. So they tell of the members' doubts and disagreement,
    and a model that votes with itself says the same as alone.

    Args:
        members: two models or more
        combination: mean or vote
        weights: one above 0 for each member, for the mean alone; None: equal ones

    Raises:
        DataError: the members tell different classes, or are of grey and of colour photos.
        ConfigError: the weights do not fit.
    """

    def __init__(
        self,
        members: Sequence[Predictor],
        combination: Combination = "mean",
        weights: Sequence[float] | None = None,
    ) -> None:
        assert len(members) >= 2, members
        first = members[0]
        for member in members[1:]:
            if member.description.classes != first.description.classes:
                raise DataError(
                    "The models of an ensemble must tell the same classes, in the same order; these"
                    f" have {len(first.description.classes)} and {len(member.description.classes)}:"
                    f" {_difference(first.description.classes, member.description.classes)}."
                )
            if _form(member) != _form(first):
                raise DataError(
                    "The models of an ensemble must take photos of the same channels and denoise;"
                    f" these take {_form(first)} and {_form(member)}."
                )
        if weights is not None and (
            len(weights) != len(members) or min(weights) <= 0 or combination != "mean"
        ):
            raise ConfigError(
                f"An ensemble of {len(members)} models got the weights"
                f" {', '.join(f'{weight:g}' for weight in weights)}; expected one above 0 for each"
                " model, and no vote."
            )
        self._members = tuple(members)
        self._combination = combination
        self._weights = np.asarray(weights or [1.0] * len(members), np.float32)
        self._weights /= self._weights.sum()

    @property
    def description(self) -> ModelDescription:
        """The first member's, whose classes are those of all; its hash is that of all hashes."""
        hashes = [member.description.sha256 or "" for member in self._members]
        return replace(
            self._members[0].description,
            sha256=hashlib.sha256(" ".join(hashes).encode()).hexdigest(),
        )

    @property
    def pixel_format(self) -> PixelFormat:
        """The form of the member with the largest images; the others make them smaller."""
        return max(
            (member.pixel_format for member in self._members), key=lambda form: form.image_size
        )

    def predict(self, pixels: Pixels) -> Predictions:
        """Predict the classes of photos; see `Predictor.predict`.

        The embeddings are those of all members side by side, each of length 1.
        """
        members = [member.predict(pixels) for member in self._members]
        probabilities = np.stack([member.probabilities for member in members])  # [M, N, C]
        mean = np.tensordot(self._weights, probabilities, axes=1).astype(np.float32)
        if self._combination == "vote":
            mean = _elected(probabilities, mean)
        embeddings = [
            member.embeddings
            / np.maximum(np.linalg.norm(member.embeddings, axis=1, keepdims=True), 1e-12)
            for member in members
        ]
        familiarity = np.tensordot(
            self._weights, np.stack([member.familiarity for member in members]), axes=1
        )
        return Predictions(mean, np.concatenate(embeddings, axis=1), familiarity.astype(np.float32))


def _elected(probabilities: Floats, mean: Floats) -> Floats:
    """Return the mean, with the elected class of each photo in the place of the most probable one.

    Args:
        probabilities: [M, N, C], of each member
        mean: [N, C], over the members
    """
    named = probabilities.argmax(axis=2)  # [M, N]
    votes = (named[..., None] == np.arange(mean.shape[1])).sum(axis=0)  # [N, C]
    elected = (votes + mean / 2).argmax(axis=1)  # half a mean is less than a vote
    first = mean.argmax(axis=1)
    photos = np.arange(len(mean))
    swapped = mean.copy()
    swapped[photos, elected] = mean[photos, first]
    swapped[photos, first] = mean[photos, elected]
    return swapped


def _form(member: Predictor) -> tuple[int, int]:
    form = member.pixel_format
    return form.channels, form.denoise


def _difference(first: Sequence[str], second: Sequence[str]) -> str:
    """Return the first place where two lists of classes differ, in words."""
    for one, other in zip(first, second, strict=False):
        if one != other:
            return f"{one!r} stands where the other has {other!r}"
    return "the longer one goes on"
