"""A model's guesses at photos, and the labels that a person gave them."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fedshelf.common.inference.predictors.verdicts import Verdict


@dataclass(frozen=True)
class Guess:
    """A photo with the class that a model takes it for.

    Attributes:
        name: relative to the folder that was given, beginning with its name, with slashes
        path: the file
        verdict: sure, unsure or unknown
        label: the most probable class, by the name that training uses
        probability: of `label`, calibrated
    """

    name: str
    path: Path
    verdict: Verdict
    label: str
    probability: float


class NamedLabels(NamedTuple):
    """A photo by the name that a file gives it, with all labels that it has there."""

    image: str
    labels: frozenset[str]
