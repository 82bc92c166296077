"""States of the stores: as the server's app reports them, else as guessed from the rounds so
far.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fedshelf.server.monitor.progress import RunProgress, Share
from fedshelf.server.monitor.state import StoreState

# State of a store by its last failure, while the app does not report one.
GUESSED = {"timeout": "away", "unavailable": "away", "refused": "refused", "policy": "refused"}


def store_states(
    told: Mapping[str, Any],
    partition: Mapping[str, Any],
    revoked: Mapping[str, Any],
    progress: RunProgress,
    undone: RunProgress,
    *,
    over: bool,
) -> tuple[StoreState, ...]:
    """Return the states of all known stores, by name.

    told:      store -> {"state", "since", "why", "images", "round"}, as the app writes it; may be
               empty
    partition: {"stores": {store: [images per class]}}; may be empty
    undone:    the rounds that were taken back
    revoked:   store -> Unix time (s) at which the chain revoked it, as the registrar writes it; may
               be empty
    over:      whether the run has ended, so that the stores' states are unknown
    """
    table = partition.get("stores")
    held = table if isinstance(table, dict) else {}
    failures: Counter[str] = Counter()
    for (name, _), troubles in [*progress.troubles.items(), *undone.troubles.items()]:
        failures[name] += len(troubles.rounds)
    stores = (
        _store(
            name,
            _told(told, revoked, name),
            sum(held.get(name) or []),
            progress,
            failures[name],
            over=over,
        )
        for name in sorted({*told, *held, *progress.shares, *undone.shares})
    )
    rounds = {name: share.rounds for name, share in undone.shares.items()}
    return tuple(
        replace(store, rounds=store.rounds + rounds.get(store.name, 0)) for store in stores
    )


def _told(told: Mapping[str, Any], revoked: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the app's report of a store.

    A store that is missing from the report while others are in it has not joined yet. The chain
    knows of a revoked store before the app does.
    """
    if name in revoked:
        return {**told.get(name, {}), "state": "revoked", "since": revoked[name], "why": ""}
    return told.get(name) or (
        {"state": "away", "why": "it has not come since the server started"} if told else {}
    )


def _store(
    name: str,
    told: Mapping[str, Any],
    held: int,
    progress: RunProgress,
    failures: int,
    *,
    over: bool,
) -> StoreState:
    share = progress.shares.get(name, Share())
    return StoreState(
        name=name,
        state="" if over else str(told.get("state") or GUESSED.get(share.trouble, "ready")),
        since=None if over else told.get("since"),
        why="" if over else str(told.get("why") or ""),
        images=told.get("images") or held or share.images,
        accuracy=share.accuracy,
        loss=share.loss,
        seconds=share.seconds,
        rounds=share.rounds,
        last_round=share.last_round,
        failures=failures,
    )
