"""The cohort of a round: the wait for its quorum, and its sample of the stores that are there."""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from fedshelf.common.config import CohortConfig, RunConfig
from fedshelf.common.errors import StoppedError, StoresError
from fedshelf.common.protocol.failures import format_failures
from fedshelf.common.protocol.messages import Failure, StoreInfo
from fedshelf.common.seeding import rng
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus
from fedshelf.server.runtime import StorePresence

POLL_SECONDS = 0.2
CLOCK_SECONDS = 2  # the end of the wait is told in whole seconds; a smaller difference is no news


def wait_for_quorum(
    runtime: StorePresence,
    round_number: int,
    quorum: int,
    wait: float,
    observer: RunObserver,
    stop: Callable[[], bool],
) -> Mapping[str, StoreInfo]:
    """Wait until `quorum` stores are present, and return all stores that are present.

    While it waits, the observer is told what the run waits for.

    Raises StoppedError if `stop` returns True before the quorum is reached. Raises StoresError
    after `wait` seconds without a quorum. Time in which a store rests does not count: some stores
    work at night only.
    """
    deadline = time.monotonic() + wait
    reported = None
    noted_count = -1
    while len(present := runtime.stores()) < quorum:
        if stop():
            raise StoppedError(
                f"{len(present)} of the {quorum} stores needed had joined ({_names(present)})"
            )
        if retry_after := runtime.retry_after():
            deadline = time.monotonic() + retry_after + wait
        if time.monotonic() >= deadline:
            raise StoresError(
                f"{len(present)} of the {quorum} stores needed joined within {wait:g} s"
                f" ({_names(present)}); start the others, or go on with fewer: --resume --stores"
                f" {max(len(present), 1)}."
            )
        until = math.ceil(time.time() + deadline - time.monotonic())
        now = _waiting(
            RunActivity(RunStatus.WAITING, round_number, tuple(sorted(present)), quorum, until),
            runtime.held_back(),
        )
        if reported is None or _differs(now, reported):
            observer.doing(reported := now)
        if len(present) != noted_count:
            noted_count = len(present)
            observer.note(
                f"Waiting for stores: {noted_count} of {quorum} joined ({_names(present)})."
            )
        time.sleep(POLL_SECONDS)
    return present


def _waiting(waiting: RunActivity, held_back: Mapping[str, str]) -> RunActivity:
    """Return the activity of a run that waits for stores.

    It is BLOCKED if the stores that cannot train (`held_back`) would complete the quorum.
    """
    if len(waiting.stores) + len(held_back) < waiting.needed:
        return waiting
    why = "; ".join(f"{store}: {reason}" for store, reason in sorted(held_back.items()))
    return replace(waiting, status=RunStatus.BLOCKED, why=why)


def _differs(now: RunActivity, reported: RunActivity) -> bool:
    """Return whether two activities differ by more than a clock that was read a moment later."""
    assert now.until is not None
    assert reported.until is not None
    return (
        replace(now, until=reported.until) != reported
        or abs(now.until - reported.until) > CLOCK_SECONDS
    )


def sample(
    present: Iterable[str], config: CohortConfig, seed: int, round_number: int, attempt: int = 0
) -> list[str]:
    """Return the cohort of a round, in store order.

    It has `fraction` of the stores present, but at least the quorum.

    The result depends only on the names present, the seed, the round and the attempt.
    """
    names = sorted(present)
    chosen = rng(seed, "cohort", round_number, attempt).permutation(len(names))[
        : cohort_size(len(names), config)
    ]
    return [names[i] for i in sorted(chosen)]


def quorum_error(round_number: int, quorum: int, failed: Mapping[str, Failure]) -> StoresError:
    """Return the error for a round in which too few stores took part."""
    return StoresError(
        f"Round {round_number} did not reach the quorum of {quorum} stores:"
        f" {format_failures(failed)}. The run is saved up to round {round_number - 1}; mend the"
        " stores and go on with --resume."
    )


def cohort_size(present: int, config: CohortConfig) -> int:
    """Return the number of stores in a cohort if `present` stores are present."""
    return min(present, max(config.min_stores, round_half_up(config.fraction * present), 1))


def largest_cohort(present: int, config: RunConfig) -> int:
    """Return the most stores that a cohort can have if `present` stores are present.

    Stores that noise protects are drawn each by chance, so all may be.
    """
    return present if config.privacy.protects_stores else cohort_size(present, config.cohort)


def round_half_up(value: float) -> int:
    """Round half up: 2.5 becomes 3, while Python's `round` gives 2."""
    return int(value + 0.5)


def _names(present: Iterable[str]) -> str:
    return ", ".join(sorted(present)) or "none"
