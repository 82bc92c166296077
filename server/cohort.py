"""Which stores take part in a round."""

import time
from collections.abc import Callable, Iterable, Mapping

from common.config import CohortConfig
from common.errors import StoppedError, StoresError
from common.orders import StoreInfo
from common.seeding import rng
from server.runtime import Runtime

POLL_SECONDS = 0.2


def assemble(
    runtime: Runtime, quorum: int, wait: float, note: Callable[[str], None], stop: Callable[[], bool]
) -> Mapping[str, StoreInfo]:
    """The stores present once there are `quorum`.

    Raises StoppedError once `stop` says so before that; StoresError after `wait` seconds without a quorum in which no
    store rests: some work at night only.
    """
    deadline = time.monotonic() + wait
    told = -1
    while len(present := runtime.stores()) < quorum:
        if stop():
            raise StoppedError(f"{len(present)} of the {quorum} stores needed had joined ({_names(present)})")
        if rest := runtime.resting():
            deadline = time.monotonic() + rest + wait
        if time.monotonic() >= deadline:
            raise StoresError(
                f"{len(present)} of the {quorum} stores needed joined within {wait:g} s"
                f" ({_names(present)}); start the others, or go on with fewer: --resume --stores"
                f" {max(len(present), 1)}."
            )
        if len(present) != told:
            told = len(present)
            note(f"Waiting for stores: {told} of {quorum} joined ({_names(present)}).")
        time.sleep(POLL_SECONDS)
    return present


def sample(present: Iterable[str], config: CohortConfig, seed: int, round: int, attempt: int = 0) -> list[str]:
    """The cohort of `round`, in store order: `fraction` of those present, at least the quorum.

    Depends on the names present, the seed, the round and the attempt alone.
    """
    names = sorted(present)
    chosen = rng(seed, "cohort", round, attempt).permutation(len(names))[: size(len(names), config)]
    return [names[i] for i in sorted(chosen)]


def size(present: int, config: CohortConfig) -> int:
    """Stores in a cohort, of so many present."""
    return min(present, max(config.min_stores, round_half_up(config.fraction * present), 1))


def round_half_up(value: float) -> int:
    """2.5 becomes 3, where Python's round gives 2."""
    return int(value + 0.5)


def _names(present: Iterable[str]) -> str:
    return ", ".join(sorted(present)) or "none"
