"""Views of a server with and without protections, for the same settings of a run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedshelf.common.config.privacy import PrivacyConfig
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.seeding import rng
from fedshelf.simulations.reveal.membership import draw_candidates
from fedshelf.simulations.reveal.server_view import ServerView, draw_store
from fedshelf.simulations.reveal.statistics import DELTA

# if the settings have none: an update's epsilon is 2.8 at a delta of 1e-5
DEFAULT_PRIVACY = PrivacyConfig(clip=1.0, noise=2.0, rate=0.25, steps=20)
SUMMED_STORES = 10
_OTHERS = 3 * (SUMMED_STORES - 1)  # updates from which those of the other stores are drawn
# settings that have no effect on private training, or do not go with it
_NOT_PRIVATE = frozenset(
    {
        "train.epochs",
        "train.batch_size",
        "train.seconds",
        "train.clip_norm",
        "train.precision",
        "data.mixup",
        "data.cutmix",
        "strategy.absent_classes",
    }
)


@dataclass(frozen=True)
class Privacy:
    """The claim of one update of a private training.

    Attributes:
        epsilon: of the update alone; those of more rounds add up
        delta: at which it holds
    """

    epsilon: float
    delta: float

    @classmethod
    def of_update(cls, privacy: PrivacyConfig) -> "Privacy":
        """Return the claim of an update that is trained so."""
        mechanism = SampledGaussian(privacy.noise, privacy.rate, privacy.steps)
        return cls(epsilon([mechanism], DELTA), DELTA)


def without_privacy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings without those of private training."""
    return {key: value for key, value in settings.items() if not key.startswith("privacy.")}


def with_privacy(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return flat settings with private training: as they have it, else by `DEFAULT_PRIVACY`.

    Settings that do not go with it are left out in the second case alone.
    """
    if settings.get("privacy.clip") and settings.get("privacy.noise"):
        return dict(settings)
    kept = without_privacy(settings)
    kept = {key: value for key, value in kept.items() if key not in _NOT_PRIVATE}
    privacy = {key: getattr(DEFAULT_PRIVACY, key) for key in ("clip", "noise", "rate", "steps")}
    return kept | {f"privacy.{key}": value for key, value in privacy.items()}


def summed(
    view: ServerView, images: int, seed: int, done: Callable[[int, int], object]
) -> ServerView:
    """Return the view of a server that receives sums of `SUMMED_STORES` stores with as many photos.

    The others' photos are none of those that the server looks for, if there are enough.

    Args:
        view: of a server that receives single updates
        images: training images of a store
        seed: of the choice of photos
        done: called with (trainings done, trainings in all)
    """
    random = rng(seed, "reveal", "sum")
    rest = np.setdiff1d(np.arange(len(view.pool)), draw_candidates(view, images, seed))
    photos = rest if len(rest) >= images else np.arange(len(view.pool))

    def changes() -> Iterator[Any]:
        for number in range(_OTHERS):
            yield view.change(draw_store(view, photos, images, random))
            done(number + 1, _OTHERS)

    return view.with_others(tuple(changes()), SUMMED_STORES)
