"""What each store contributes: as estimated while training, and as found by training without it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from common.metrics import merge
from simulations.compare.crew import SERVER
from simulations.compare.judging import Judged, gain
from simulations.compare.parts import FEDERATED, WITHOUT
from simulations.compare.verdict import Found


def contributions(found: Found) -> dict[str, Any] | None:
    """Each store's estimate (see `server.contribution`) and, where there is a model without it, what it adds.

    left_out: what the federated model gains over the one trained without the store, on the server's test images if
              there are any, else on all stores' held-out images: points of accuracy, and nats of the mean loss
    agreement: Spearman's rank correlation of estimate and loss gained, over the stores
    """
    estimates = found.parts[FEDERATED].summary.get("contribution")
    if not estimates:
        return None
    told: dict[str, Any] = {"stores": {store: {"estimate": estimates.get(store)} for store in found.stores}}
    told["has_left_out"] = all(f"{WITHOUT}/{store}" in found.parts for store in found.stores)
    if told["has_left_out"]:
        whole = _on_all(found, FEDERATED)
        for store in found.stores:
            without = _on_all(found, f"{WITHOUT}/{store}")
            gained = gain(without, whole)
            assert gained is not None, "there are images to judge on"
            told["stores"][store] |= {"left_out": asdict(gained), "loss": without.counts.loss - whole.counts.loss}
        rows = told["stores"].values()
        told["agreement"] = rank_correlation([row["estimate"] for row in rows], [row["loss"] for row in rows])
    return told


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's: the correlation of ranks, equal values sharing theirs. None if all values of one are equal."""
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    ordered = np.sort(values)
    return (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / 2


def _on_all(found: Found, part: str) -> Judged:
    """A part's model on the server's test images, else on those of all stores."""
    judged = found.parts[part].judged
    if SERVER in judged:
        return judged[SERVER]
    own = [judged[store] for store in found.stores]
    right = np.concatenate([each.right for each in own])
    return Judged(right, merge([each.counts for each in own], found.classes))
