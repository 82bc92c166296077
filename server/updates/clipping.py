"""Clipping of updates of suspicious stores to the usual norm, if `screening.suspects` is clip."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from torch import Tensor

from fedshelf.server.updates.buffer import UpdateBuffer
from fedshelf.server.updates.norm_bound import usual


def clip(
    held: UpdateBuffer, start: Tensor, norms: Mapping[str, float], stores: Iterable[str]
) -> dict[str, float]:
    """Scale the change by training at some `stores` to the usual norm of the cohort, where it is
    larger.

    held: the updates of the round
    start: float32 [P], the parameters that their training started from
    norms: L2 norm of the change by training, by store

    Returns the factor of each update that was scaled. Raises OSError if an update cannot be held.
    """
    most = usual(norms) if norms else 0.0
    factors = {store: most / norms[store] for store in stores if norms.get(store, 0.0) > most}
    for update in [update for update in held.updates() if update.store in factors]:
        begin = start.to(update.params.device)
        clipped = begin + (update.params - begin) * factors[update.store]
        held.drop(update.store)
        held.put(replace(update, params=clipped))
    return dict(sorted(factors.items()))
