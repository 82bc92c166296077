"""Settings that do not go with differential privacy of a store, each with the reason.

A round's sum must move by at most S if one store sends something else. So no store may weigh more
than another, and nothing that one store sends may decide whether another one's update counts.
"""

from collections.abc import Iterator

from fedshelf.common.config import PrivacyConfig, RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.strategies import Strategy

# stores in a round for which a draw can be relied on: it is empty once in 5e8 rounds
LEAST_DRAWN = 20
# settings that apply only if updates are noised, and their defaults
DEPENDENT = ("store_clip", "store_quantile", "store_delta")


def check(config: RunConfig, strategy: Strategy, layout: Layout) -> None:
    """Check that a run's settings go with its differential privacy of a store.

    Args:
        config: settled settings
        strategy: of the run
        layout: of the model's vector

    Raises:
        ConfigError: they do not; it names the setting, and what to do.
    """
    privacy = config.privacy
    if not privacy.protects_stores:
        for name in DEPENDENT:
            if getattr(privacy, name) != PrivacyConfig.model_fields[name].default:
                raise ConfigError(
                    f"Setting privacy.{name} got {getattr(privacy, name)!r}, but"
                    " privacy.store_noise is 0, and without noise nothing is private; set"
                    " privacy.store_noise, too."
                )
        return
    if reason := next(_faults(config, strategy, layout), None):
        raise ConfigError(
            f"Setting privacy.store_noise got {privacy.store_noise:g}, which does not go with"
            f" {reason}."
        )


def check_stores(config: RunConfig, stores: int) -> None:
    """Check that a round's draw of `stores` stores has enough of them.

    Raises:
        ConfigError: it may be empty.
    """
    if config.privacy.protects_stores and (reason := too_few(config.cohort.fraction, stores)):
        raise ConfigError(f"Setting cohort.fraction got {config.cohort.fraction:g}: {reason}.")


def too_few(fraction: float, stores: int) -> str | None:
    """Return why too few stores are expected in a round's draw; None if they are enough."""
    if fraction == 1 or fraction * stores >= LEAST_DRAWN:
        return None
    return (
        f"of {stores} stores it draws {fraction * stores:g} in a round, each by chance; with"
        f" privacy.store_noise this must be at least {LEAST_DRAWN}, or 1 for all stores"
    )


def _faults(config: RunConfig, strategy: Strategy, layout: Layout) -> Iterator[str]:
    """Yield what does not go with noised updates, and what to do: each a part of a sentence."""
    name = config.strategy.name
    yield from _clip_faults(config.privacy)
    if not _averages_only(strategy):
        yield (
            f"strategy {name}, which does more with the updates than average them, so that one"
            " store's effect on the model has no bound; use fedavg, fedprox, fedavgm, fedadam,"
            " fedyogi or fedadagrad"
        )
    if strategy.personal_tensors():
        yield f"strategy {name}, which keeps parts of the model at the stores; use another one"
    if config.privacy.secure_sum and config.messages.compression != "none":
        yield (
            f"privacy.secure_sum and messages.compression={config.messages.compression}, which"
            " round coarsely after the clip; use messages.compression=none"
        )
    if config.strategy.weighting != "uniform":
        yield (
            "strategy.weighting=images, as numbers of images tell of a store and let one count for"
            " more than others; set strategy.weighting=uniform"
        )
    if config.strategy.absent != "full":
        yield (
            f"strategy.absent_classes={config.strategy.absent}, which averages rows of the head by"
            " the stores' counts of classes; set strategy.absent_classes=full"
        )
    if layout.size > layout.trainable:
        yield (
            f"model {config.model.name} and its norm layers, whose statistics would travel without"
            " a bound; set model.norm=group, or frozen with pretrained weights"
        )
    if config.screening.suspects != "report":
        yield (
            f"screening.suspects={config.screening.suspects}, by which one store's update decides"
            " about others'; leave it out"
        )
    if config.run.deliver == "best" or config.evaluation.patience:
        key = "evaluation.patience" if config.evaluation.patience else "run.deliver=best"
        yield f"{key}, which chooses a round by results that have no noise; leave it out"


def _clip_faults(privacy: PrivacyConfig) -> Iterator[str]:
    """Yield what does not go together among the settings of the clip."""
    clip, quantile = privacy.store_clip, privacy.store_quantile
    follows = quantile != PrivacyConfig.model_fields["store_quantile"].default
    if clip and follows:
        yield (
            f"both privacy.store_clip={clip:g}, a fixed clip, and privacy.store_quantile="
            f"{quantile:g}, which a clip follows; leave one of them out"
        )
    if privacy.secure_sum and clip:
        yield (
            f"both privacy.secure_sum and privacy.store_clip={clip:g}, as stores clip their updates"
            " themselves, to privacy.sum_bound; leave privacy.store_clip out"
        )
    if privacy.secure_sum and follows:
        yield (
            "both privacy.secure_sum and privacy.store_quantile, as the norms of updates are not"
            " visible; leave privacy.store_quantile out"
        )


def _averages_only(strategy: Strategy) -> bool:
    """Return whether the server half is a function of the mean of the updates."""
    kind = type(strategy)
    return (
        kind.update_global_model is Strategy.update_global_model
        and kind.aggregate_updates is Strategy.aggregate_updates
        and kind.mean is Strategy.mean
        and kind.weight is Strategy.weight
        and not strategy.expected_extras(1)
    )
