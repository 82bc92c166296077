"""The mechanism of a round: who is drawn, and the noised mean of their clipped updates.

`common.privacy.store_level` has the equations. Each store is drawn by a coin of its own (Poisson
sampling), as the accountant takes for granted; the coins derive from the ledger's secret, as who
took part is part of the secret. A round's tries all ask the same stores: a draw that was repeated
until enough stores answer would be another distribution.

With a secure sum, the stores clip their changes themselves, and the server, which sees their sum
alone, adds the noise to it: a store's own clipping is what its own claim needs.

The adjacent run, from which nobody can tell this one, has the same stores, and one of them
contributes nothing (zero-out adjacency). So failures cost nothing: a store that fails contributes
nothing in either run.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.errors import StoresError
from fedshelf.common.privacy import store_level
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.privacy.noise import add_noise, gaussian
from fedshelf.common.protocol.messages import Update
from fedshelf.server.store_privacy.noise_ledger import NoiseLedger, noise_streams
from fedshelf.server.store_privacy.refusals import too_few
from fedshelf.server.updates.screening import RoundOutcome

STORE_RECORD_KEY = "store_privacy"  # of the history and of the summary


@dataclass(frozen=True)
class NoisedMean:
    """The noised mean of a round's updates.

    Attributes:
        update: stands for all updates: its parameters are the model that the mean change leads to
        record: the round's entry in the history: everything in it is noised, or known beforehand
    """

    update: Update
    record: Mapping[str, Any]


class StorePrivacy:
    """Draws the stores of each round of a run, and adds the noise.

    Args:
        note: takes lines for the person who watches the run
    """

    def __init__(self, config: RunConfig, ledger: NoiseLedger, note: Callable[[str], None]) -> None:
        self._privacy = config.privacy
        self._rate = config.cohort.fraction
        self._rounds = config.run.rounds
        self._ledger = ledger
        self._note = note
        self._has_told = False

    def cohort(self, present: Iterable[str], round_number: int) -> list[str]:
        """Return the stores drawn for a round, in store order.

        A store's coin depends on its name and the round alone.
        """
        key = self._ledger.draw_key(round_number)
        return [name for name in sorted(present) if _coin(key, name) < self._rate]

    def check_draw(self, drawn: int, present: int, round_number: int) -> None:
        """Check that a round's draw is large enough.

        Raises:
            StoresError: too few stores are there to be drawn from, or none is drawn.
        """
        reason = too_few(self._rate, present)
        if reason or not drawn:
            raise StoresError(
                f"Round {round_number}: {reason or 'no store was drawn'}; more stores have to join."
            )

    def noised_mean(self, trained: RoundOutcome, last: Mapping[str, Any] | None) -> NoisedMean:
        """Return the noised mean of the round's clipped updates.

        Args:
            trained: the round's updates
            last: the line of the round before in the history, or None

        Raises:
            OSError: the ledger cannot be written.
        """
        settings, order = self._privacy, trained.order
        stores = len(trained.present)
        expected = self._rate * stores
        fixed_clip = settings.sum_bound if order.terms else settings.store_clip
        clip = fixed_clip or _clip_after(last)
        noise = store_level.split_noise(settings.store_noise, expected, adaptive=not fixed_clip)
        total = _clipped_sum(trained, clip)
        key, releases = self._ledger.release(order.round, total)
        for_changes, for_count = noise_streams(key)
        noised = add_noise(total, noise.changes * clip, for_changes)
        change = (noised / expected).to(order.params)
        update = Update("", order.round, order.params + change, 1, 0.0, 0.0)
        record = {
            "clip": clip,
            "next_clip": clip,
            "deviation": noise.changes * clip / expected,
            "expected": expected,
            "signal_to_noise": store_level.signal_to_noise(
                expected, noise.changes, order.params.numel()
            ),
            "epsilon": self._epsilon(releases, stores),
            "delta": self._delta(stores),
        }
        if noise.count is not None:
            small = sum(trained.norms[update.store] <= clip for update in trained.updates)
            centred = small - len(trained.updates) / 2 + noise.count * float(gaussian(for_count, 1))
            share = centred / expected + 0.5
            record["next_clip"] = store_level.next_clip(clip, share, settings.store_quantile)
        self._tell(record, stores, releases + self._rounds - order.round)
        return NoisedMean(update, record)

    def _delta(self, stores: int) -> float:
        return self._privacy.store_delta or store_level.default_delta(stores)

    def _epsilon(self, releases: int, stores: int) -> float:
        mechanism = SampledGaussian(self._privacy.store_noise, self._rate, releases)
        return epsilon([mechanism], self._delta(stores))

    def _tell(self, record: Mapping[str, Any], stores: int, releases: int) -> None:
        """Say once what the run's noise gives, and whether it leaves anything to learn."""
        if self._has_told:
            return
        self._has_told = True
        ratio = record["signal_to_noise"]
        drawn = "all" if self._rate == 1 else f"about {record['expected']:,.0f} of"
        noise = self._privacy.store_noise
        self._note(
            f"Differential privacy of a store: {drawn} {stores:,} stores in a round, noise"
            f" {noise:g}; after {self._rounds} rounds epsilon is"
            f" {self._epsilon(releases, stores):.3g} at delta {record['delta']:.2g}. Signal to"
            f" noise: at most {ratio:.2g}."
        )
        if ratio < 1:
            self._note(
                "The noise is larger than all that the stores of a round say together: with tens of"
                " stores it destroys the model. Take thousands of stores, train fewer weights"
                " (model.freeze=backbone), or protect photos in place of stores (privacy.clip)."
            )


def of_simulation(config: RunConfig, note: Callable[[str], None]) -> StorePrivacy | None:
    """Return the mechanism of a simulation; None if updates are not noised."""
    if not config.privacy.protects_stores:
        return None
    return StorePrivacy(config, NoiseLedger.simulated(config.run.seed), note)


def of_deployment(
    config: RunConfig, path: Path, rounds: int, note: Callable[[str], None]
) -> StorePrivacy | None:
    """Return the mechanism of a run with real stores; None if updates are not noised.

    Args:
        config: of the run
        path: file of its ledger
        rounds: number of rounds that it has done
        note: takes lines for the person who watches the run

    Raises:
        RunError: the ledger cannot be read.
    """
    if not config.privacy.protects_stores:
        return None
    return StorePrivacy(config, NoiseLedger.open(path, rounds), note)


def _clipped_sum(trained: RoundOutcome, clip: float) -> Tensor:
    """Return the sum of all changes, each clipped to the norm `clip`: float64 [T] on the CPU.

    In a secure sum the stores have clipped their changes themselves. In float32, one store's change
    would move the rounding of all others', of which thousands add up.
    """
    start = trained.order.params
    total = torch.zeros(start.shape, dtype=torch.float64)
    if trained.order.terms is not None:
        (mean,) = trained.updates
        return total.add_((mean.params - start).cpu(), alpha=len(trained.stores))
    for update in trained.updates:
        factor = store_level.clip_factor(trained.norms[update.store], clip)
        total.add_((update.params - start.to(update.params.device)).cpu(), alpha=factor)
    return total


def _clip_after(last: Mapping[str, Any] | None) -> float:
    """Return the clip that the round before has chosen, or the first one."""
    return float(last[STORE_RECORD_KEY]["next_clip"]) if last else store_level.FIRST_CLIP


def _coin(key: bytes, store: str) -> float:
    """Return a number in [0, 1) for a store; nobody can tell it without the key."""
    digest = hashlib.blake2b(store.encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
