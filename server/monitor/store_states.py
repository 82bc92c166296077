"""States of the stores: as the server's app reports them, else guessed from the rounds."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedshelf.server.monitor.progress import RunProgress, StoreShare
from fedshelf.server.monitor.state import StoreState

# State of a store by its last failure, while the app does not report one.
STATE_BY_FAILURE = {
    "timeout": "away",
    "unavailable": "away",
    "refused": "refused",
    "policy": "refused",
}


def store_states(
    reports: Mapping[str, Any],
    partition: Mapping[str, Any],
    revoked: Mapping[str, Any],
    progress: RunProgress,
    undone: RunProgress,
    *,
    is_over: bool,
) -> tuple[StoreState, ...]:
    """Return the states of all known stores, by name.

    Args:
        reports:   store -> {"state", "since", "why", "images", "round"}, as the app writes it; may
            be
            empty
        partition: {"stores": {store: [images per class]}}; may be empty
        revoked:   store -> Unix time (s) at which the chain revoked it, as the registrar writes it;
            may
            be empty
        progress:  the rounds of the history
        undone:    the rounds that were taken back
        is_over:   True if the run has ended, so that the stores' states are unknown
    """
    table = partition.get("stores")
    images_by_store = table if isinstance(table, dict) else {}
    failures: Counter[str] = Counter()
    for (name, _), troubles in [*progress.troubles.items(), *undone.troubles.items()]:
        failures[name] += len(troubles.rounds)
    stores = (
        _store(
            name,
            _report_of(reports, revoked, name),
            sum(images_by_store.get(name) or []),
            progress,
            failures[name],
            is_over=is_over,
        )
        for name in sorted({*reports, *images_by_store, *progress.shares, *undone.shares})
    )
    rounds = {name: share.rounds for name, share in undone.shares.items()}
    return tuple(
        replace(store, rounds=store.rounds + rounds.get(store.name, 0)) for store in stores
    )


def _report_of(
    reports: Mapping[str, Any], revoked: Mapping[str, Any], name: str
) -> Mapping[str, Any]:
    """Return the app's report of a store.

    A store that is missing from the report while others are in it has not joined yet. The chain
    knows of a revoked store before the app does.
    """
    if name in revoked:
        return {**reports.get(name, {}), "state": "revoked", "since": revoked[name], "why": ""}
    return reports.get(name) or (
        {"state": "away", "why": "it has not joined since the server started"} if reports else {}
    )


def _store(
    name: str,
    report: Mapping[str, Any],
    held_images: int,
    progress: RunProgress,
    failures: int,
    *,
    is_over: bool,
) -> StoreState:
    share = progress.shares.get(name, StoreShare())
    return StoreState(
        name=name,
        state=""
        if is_over
        else str(report.get("state") or STATE_BY_FAILURE.get(share.trouble, "ready")),
        since=None if is_over else report.get("since"),
        why="" if is_over else str(report.get("why") or ""),
        images=report.get("images") or held_images or share.images,
        accuracy=share.accuracy,
        quality=share.quality,
        loss=share.loss,
        seconds=share.seconds,
        rounds=share.rounds,
        last_round=share.last_round,
        failures=failures,
    )
