"""Each store's contribution: estimated in training, and measured by training without the store."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np

from fedshelf.common.metrics.counts import merge
from fedshelf.simulations.compare.arms.arms import FEDERATED, WITHOUT
from fedshelf.simulations.compare.outcomes import ComparisonResults, ResultRow, SeedOutcome
from fedshelf.simulations.compare.statistics.margins import Paired, gain
from fedshelf.simulations.compare.statistics.paired_accuracy import Judged
from fedshelf.simulations.compare.trainer import SERVER_TEST


def measure_contributions(results: ComparisonResults) -> dict[str, Any] | None:
    """Return each store's estimated contribution and, if there is one, its measured one.

    Args:
        results: the outcomes of all seeds

    Returns:
        JSON values, or None if a run has no estimates (`server.updates.contribution`). `stores` has
        a store's `estimate`; `left_out`, the gain of the federated model over the one trained
        without the store, in points of accuracy; and `loss`, the same in nats of the mean loss. The
        images are the server's test images if there are any, else all stores' held-out images.
        `agreement` is Spearman's rank correlation of estimate and loss over the stores, in the mean
        over the seeds.
    """
    estimates: dict[int, dict[str, float]] = {
        seed.seed: seed.arm_results[FEDERATED].summary.get("contribution") or {}
        for seed in results.seeds
    }
    if not all(estimates.values()):
        return None
    has_left_out = all(
        f"{WITHOUT}/{store}" in seed.arm_results for seed in results.seeds for store in seed.stores
    )
    rows = {}
    for row in results.rows:
        known_values = [
            estimate
            for seed in row.seeds
            if (estimate := estimates[seed.seed].get(row.store)) is not None
        ]
        rows[row.label] = {"estimate": fmean(known_values) if known_values else None} | (
            _left_out(row) if has_left_out else {}
        )
    summary: dict[str, Any] = {"stores": rows, "has_left_out": has_left_out}
    if has_left_out:
        agreements = [_agreement(seed, estimates[seed.seed]) for seed in results.seeds]
        known_values = [agreement for agreement in agreements if agreement is not None]
        summary["agreement"] = fmean(known_values) if known_values else None
    return summary


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's correlation: that of ranks, where equal values share their rank.

    Returns:
        A number from -1 to 1; None if all values of one side are equal.
    """
    if len(set(one)) < 2 or len(set(other)) < 2:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> np.ndarray:
    ordered = np.sort(values)
    return (
        np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    ) / 2


def _left_out(row: ResultRow) -> dict[str, Any]:
    pairs = []
    for seed in row.seeds:
        without_store = _on_all(seed, f"{WITHOUT}/{row.store}")
        with_store = _on_all(seed, FEDERATED)
        pairs.append([Paired.of("", np.arange(len(with_store.right)), without_store, with_store)])
    mean_gain = gain(pairs)
    assert mean_gain is not None, "there are images to judge on"
    return {
        "left_out": mean_gain.to_json(),
        "loss": fmean(_loss_without(seed, row.store) for seed in row.seeds),
    }


def _loss_without(seed: SeedOutcome, store: str) -> float:
    """Return by how much the mean loss is higher without the store."""
    return _on_all(seed, f"{WITHOUT}/{store}").counts.loss - _on_all(seed, FEDERATED).counts.loss


def _agreement(seed: SeedOutcome, estimates: dict[str, float]) -> float | None:
    stores = [store for store in seed.stores if store in estimates]
    return rank_correlation(
        [estimates[store] for store in stores], [_loss_without(seed, store) for store in stores]
    )


def _on_all(seed: SeedOutcome, arm_name: str) -> Judged:
    """Judge an arm's model on the server's test images.

    Without these, the images are all stores' held-out ones, with the scores that the stores use.
    """
    answers = seed.arm_results[arm_name].judged
    if SERVER_TEST in answers:
        return answers[SERVER_TEST].raw
    results = [
        answers[store].used(is_adjusted=seed.is_adjusted(FEDERATED)) for store in seed.stores
    ]
    right = np.concatenate([result.right for result in results])
    return Judged(
        right, merge([result.counts for result in results], len(results[0].counts.confusion))
    )
