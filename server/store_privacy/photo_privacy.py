"""The epsilon of one photo in a run whose stores train with differential privacy.

The stores' own ledgers decide, and count all runs. The server can only say how much its own run
asks of a photo whose store trains in every round.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fedshelf.common.config import RunConfig
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon, noise_needed

PHOTO_RECORD_KEY = "photo_privacy"  # of the history and of the summary
DELTA = 1e-5  # the largest that a store's policy may have
USEFUL_EPSILON = 8.0  # above it the claim says little (docs/reference/policy.md)


def record(config: RunConfig, rounds: int) -> dict[str, Mapping[str, Any]]:
    """Return the entry of the history after some rounds; empty without noise."""
    privacy = config.privacy
    if not privacy.is_on or not privacy.noise:
        return {}
    told = epsilon([SampledGaussian(privacy.noise, privacy.rate, privacy.steps * rounds)], DELTA)
    return {PHOTO_RECORD_KEY: {"epsilon": told, "delta": DELTA}}


def announce(config: RunConfig, note: Callable[[str], None]) -> None:
    """Say what the whole run will tell of a photo, and which noise it takes to tell less."""
    privacy = config.privacy
    rounds = config.run.rounds
    if privacy.is_on and not privacy.noise:
        note("Gradients of photos are clipped, but privacy.noise is 0: this run is not private.")
    if not (entry := record(config, rounds)):
        return
    told = entry[PHOTO_RECORD_KEY]["epsilon"]
    advice = ""
    if told > USEFUL_EPSILON:
        noise = noise_needed(USEFUL_EPSILON, privacy.rate, privacy.steps * rounds, DELTA)
        advice = f" For {USEFUL_EPSILON:g} it takes privacy.noise={noise:.3g}."
    note(
        f"Differential privacy of a photo: epsilon {told:.3g} at delta {DELTA:g}, if its store"
        f" trains in all {rounds} rounds.{advice}"
    )
