"""Cohorts that are too small for what a strategy promises against malicious stores."""

from collections.abc import Callable

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.strategies import Strategy
from fedshelf.server.training import cohort


class Guarantee:
    """Tells a person when a round has too few updates for the strategy's guarantee.

    It tells each reason once, until a round has enough again. Such a round counts all the same: the
    setting `cohort.min_stores` decides how many updates a round must have.
    """

    def __init__(self, strategy: Strategy, note: Callable[[str], None]) -> None:
        self._strategy = strategy
        self._note = note
        self._told: str | None = None

    def check(self, round_number: int, updates: int) -> str | None:
        """Return the reason why `updates` updates are too few, or None; tell it if it is new."""
        reason = self._strategy.shortfall(updates)
        if reason and reason != self._told:
            self._note(
                f"Round {round_number}: {reason}; the round counts all the same, unless"
                " cohort.min_stores asks for more."
            )
        self._told = reason
        return reason


def check_cohort(config: RunConfig, stores: int) -> None:
    """Check that cohorts of `stores` stores can withstand `strategy.malicious`.

    No store can join later.

    Raises:
        ConfigError: they never can
    """
    size = cohort.cohort_size(stores, config.cohort)
    if (
        not config.strategy.malicious
        or (reason := strategies.build(config.strategy).shortfall(size)) is None
    ):
        return
    raise ConfigError(
        f"Setting strategy.malicious got {config.strategy.malicious} with {stores} stores, {size}"
        f" in a round: {reason}; take more stores (data.stores, cohort.fraction) or a smaller"
        " number."
    )
