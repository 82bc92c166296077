"""Checks that a run's settings go with differentially private training (`RunConfig.privacy`).

The claim holds for one image, whatever the others are. So nothing may couple images: the gradient
of each is computed alone and clipped, and the number of steps does not depend on time.
"""

from collections.abc import Mapping

from fedshelf.common.config import STORES_OWN, PrivacyConfig, RunConfig, flatten
from fedshelf.common.errors import ConfigError

# within these bounds sums and noise are exact to the grid (see `noise`), and finite
CLIPS = (1e-6, 1e6)
NOISES = (0.01, 1e4)

# setting -> the values that do not go with privacy (none are named: all but 0), and what they do
_REFUSED: Mapping[str, tuple[tuple[str, ...], str]] = {
    "data.mixup": ((), "mixes images"),
    "data.cutmix": ((), "mixes images"),
    "train.seconds": ((), "lets the time decide on the number of steps"),
    "train.epochs": ((), "has no effect, as privacy.steps counts the steps"),
    "train.batch_size": ((), "has no effect, as privacy.rate draws the images"),
    "train.clip_norm": (
        (),
        "clips the gradient of a batch, which is no privacy; privacy.clip clips each image's",
    ),
    "train.precision": (("mixed",), "rounds too coarsely for gradients that are clipped"),
    "strategy.absent_classes": (
        ("mask", "weigh"),
        "lets each image's loss depend on the labels of all",
    ),
}


def check_settings(config: RunConfig) -> None:
    """Check that the section `privacy` is whole, and that the other settings go with it.

    Clipping without noise is allowed in a simulation alone: it tells what clipping costs. It is no
    privacy, and stores of a deployment need not wonder which of both they take part in.

    Raises:
        ConfigError: the first setting that does not go with it.
    """
    privacy = config.privacy
    if not privacy.is_on:
        _check_off(privacy)
        return
    given = f"Setting privacy.clip got {privacy.clip:g}"
    if missing := [key for key in ("rate", "steps") if not getattr(privacy, key)]:
        raise ConfigError(
            f"{given} without privacy.{missing[0]}, which has no default; give privacy.clip,"
            " privacy.noise, privacy.rate and privacy.steps together."
        )
    if not privacy.noise and config.data.dataset == STORES_OWN:
        raise ConfigError(
            f"{given} without privacy.noise: without noise nothing is private; give privacy.noise,"
            " or leave the section privacy out (only a simulation may clip alone, to see what it"
            " costs)."
        )
    for key, (least, most) in {"clip": CLIPS, "noise": NOISES}.items():
        value = getattr(privacy, key)
        if value and not least <= value <= most:
            raise ConfigError(
                f"Setting privacy.{key} got {value:g}; expected {least:g} to {most:g}."
            )
    flat = flatten(config)
    for key, (refused, reason) in _REFUSED.items():
        value = flat[key]
        if value in refused if refused else value:
            raise ConfigError(f"{given} with {key} {value}, which {reason}; leave one of them out.")


def _check_off(privacy: PrivacyConfig) -> None:
    """Check that no setting is given that has no effect without `clip`.

    Raises ConfigError for one that is.
    """
    for key in ("noise", "rate", "steps", "copies"):
        if (value := getattr(privacy, key)) != PrivacyConfig.model_fields[key].default:
            raise ConfigError(
                f"Setting privacy.{key} got {value:g} without privacy.clip, so training would not"
                " be private; give privacy.clip too, or leave it out."
            )
