"""The results of a comparison in numbers: `compare.json`.

Sentences, tables and the page are made of these alone.
"""

from collections.abc import Sequence
from statistics import fmean, stdev
from typing import Any

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.metrics.counts import Counts
from fedshelf.server.results.per_store import macros, summarize_counts
from fedshelf.simulations.compare import curves
from fedshelf.simulations.compare.arms.arms import (
    AGAINST,
    ALONE,
    FEDERATED,
    OF_ONE_STORE,
    POOLED,
    TUNED,
    Options,
    lone_rounds,
)
from fedshelf.simulations.compare.outcomes import ComparisonResults, ResultRow
from fedshelf.simulations.compare.statistics.margins import LEVEL, Gain, holm

ARMS_WITH_CURVES = (ALONE, FEDERATED, POOLED)  # kinds that train for as many rounds


def to_json_values(
    config: RunConfig, options: Options, results: ComparisonResults
) -> dict[str, Any]:
    """Return all numbers of a comparison as JSON values; sentences are in `wording`.

    Args:
        config: the settings of the comparison
        options: its options
        results: the outcomes of the seeds that are done
    """
    first = results.seeds[0]
    done = [seed.seed for seed in results.seeds]
    result: dict[str, Any] = {
        "status": "finished" if done == list(options.seeds) else "unfinished",
        "seeds": {
            "asked": list(options.seeds),
            "done": done,
            "is_dealt": results.is_dealt,
            "is_dealt_anew": results.is_dealt_anew,
        },
        "classes": list(first.federation.classes),
        "judged_on": {
            "own": first.held_out.origin,
            "own_images": sum(map(len, first.held_out.own.values())),
            "server_images": None if first.held_out.server is None else len(first.held_out.server),
        },
        "budget": _budget(config, options, len(first.stores)),
        "against": {kind: other for kind, other in AGAINST.items() if kind in results.kinds},
        "stores": _stores(results),
        "average": {kind: _average(results, kind) for kind in results.kinds},
        "gains": {
            kind: {
                other: _gain_to_json(results.gain(kind, other))
                for other in results.kinds
                if other != kind
            }
            for kind in results.kinds
        },
        "curves": _curves(config, results),
    }
    if kinds_on_server_test := [
        kind for kind in results.kinds if results.rows[0].server(kind) is not None
    ]:
        result["server"] = {kind: _server(results, kind) for kind in kinds_on_server_test}
    result["parts"] = {
        f"seed-{seed.seed}/{name}": {
            key: outcome.summary[key] for key in ("rounds", "weights_sha256", "seconds")
        }
        for seed in results.seeds
        for name, outcome in seed.arm_results.items()
    }
    result["seconds"] = sum(arm["seconds"]["total"] for arm in result["parts"].values())
    return result


def _budget(config: RunConfig, options: Options, stores: int) -> dict[str, Any]:
    epochs = config.train.passes
    return {
        "federated": {"rounds": config.run.rounds, "epochs": epochs},
        "alone_and_pooled": {"rounds": lone_rounds(config, stores), "epochs": epochs},
        "fine_tuning": {"epochs": options.tune_epochs, "lr": options.tune_lr},
        "patience": config.evaluation.patience,
        "is_solved": _is_solved(config),
    }


def _is_solved(config: RunConfig) -> bool:
    """Return whether one round gives each model its exact head, so that more change nothing."""
    return strategies.find(config.strategy.name).closed_form and config.cohort.fraction == 1


def _stores(results: ComparisonResults) -> dict[str, Any]:
    """Return a row for each store.

    The probabilities behind "clear" are corrected for the number of stores (Holm).
    """
    rows = {row.label: _store(results, row) for row in results.rows}
    for kind in (FEDERATED, TUNED):
        gains = {
            row.label: gain
            for row in results.rows
            if kind in results.kinds and (gain := row.gain(kind, AGAINST[kind]))
        }
        corrected = dict(zip(gains, holm([gain.p for gain in gains.values()]), strict=True))
        for label, gain in gains.items():
            rows[label]["gain"][kind] = _gain_to_json(gain, corrected[label])
    return rows


def _store(results: ComparisonResults, row: ResultRow) -> dict[str, Any]:
    seed = row.seeds[0]
    table = seed.federation.table[row.store]
    return {
        "store": row.store,
        "seeds": [outcome.seed for outcome in row.seeds],
        "images": sum(table),
        "classes": sum(count > 0 for count in table),
        "held_out": len(seed.image_numbers[row.store]),
        "models": {
            kind: _counts_to_json(row.counts(kind))
            | {"raw_accuracy": _accuracy(row.raw_counts(kind))}
            for kind in results.kinds
        },
        "gain": {kind: None for kind in (FEDERATED, TUNED) if kind in results.kinds},
    }


def _gain_to_json(gain: Gain, p: float | None = None) -> dict[str, Any]:
    """Return a gain with its probability and whether it is clear.

    Both are None with one seed, which gives no information about another training.

    Args:
        gain: the gain
        p: probability corrected for many questions; None: the gain's own
    """
    if gain.training is None:
        return gain.to_json() | {"p": None, "clear": None}
    p = gain.p if p is None else p
    return gain.to_json() | {"p": p, "clear": p <= LEVEL}


def _average(results: ComparisonResults, kind: str) -> dict[str, Any]:
    """Return the averages of a kind over stores and seeds.

    Returns:
        `accuracy`: the mean over seeds of the mean over stores; `raw_accuracy`: the same by the
        models' own scores; `deviation`: the standard deviation over the seeds; `all_images`: the
        counts of all stores' images as one set.
    """
    accuracies = [seed.accuracy(kind) for seed in results.seeds]
    return {
        "accuracy": fmean(accuracies),
        "raw_accuracy": fmean(seed.accuracy(kind, raw=True) for seed in results.seeds),
        "scores": ["adjusted" if seed.is_adjusted(kind) else "raw" for seed in results.seeds],
        "deviation": stdev(accuracies) if len(accuracies) > 1 else None,
        "seeds": accuracies,
        "all_images": _counts_to_json(results.everywhere(kind)),
    }


def _server(results: ComparisonResults, kind: str) -> dict[str, Any]:
    """Return the counts on the server's test set.

    If each store has a model of the kind, return the accuracy of each, and their mean.
    """
    counts_of_row = {
        row.label: counts for row in results.rows if (counts := row.server(kind)) is not None
    }
    if kind in OF_ONE_STORE:
        accuracies = {label: counts.accuracy for label, counts in counts_of_row.items()}
        return {"accuracy": fmean(accuracies.values()), "stores": accuracies}
    return _counts_to_json(
        sum(
            _one_of_each_seed(results, kind),
            start=Counts.zero(len(results.seeds[0].federation.classes)),
        )
    )


def _one_of_each_seed(results: ComparisonResults, kind: str) -> Sequence[Counts]:
    """Return the counts of a kind's model on the server's test set, for each seed."""
    counts_results = [seed.server(kind, seed.stores[0]) for seed in results.seeds]
    return [seed_result.counts for seed_result in counts_results if seed_result is not None]


def _curves(config: RunConfig, results: ComparisonResults) -> dict[str, Any]:
    """Return the accuracies over the federation's rounds, and their rise at the end.

    The kinds with curves train for as many rounds as the federation, or for the same work in fewer.

    Returns:
        `on`: the images, "validation" or "test", or None if no round was evaluated; `models`: kind
        -> curve.
    """
    stretch = config.run.rounds / lone_rounds(config, len(results.seeds[0].stores))
    models = {}
    for kind in ARMS_WITH_CURVES:
        points = curves.merge_curves(
            [curve for seed in results.seeds for curve in seed.curve(kind)]
        )
        if points:
            rise = curves.rise(points)
            models[kind] = {
                "rounds": [
                    round_number if kind == FEDERATED else round(round_number * stretch)
                    for round_number, _ in points
                ],
                "accuracy": [accuracy for _, accuracy in points],
                "rise": rise,
                "still_rises": curves.still_rises(rise),
            }
    on = "validation" if results.seeds[0].federation.test is None else "test"
    return {"on": on if models else None, "models": models}


def _counts_to_json(counts: Counts) -> dict[str, Any]:
    """Describe counts; empty without images."""
    images: dict[str, Any] = {"images": counts.num_examples, "confusion": counts.confusion.tolist()}
    return (summarize_counts(counts) | macros(counts) if counts.num_examples else {}) | images


def _accuracy(counts: Counts) -> float | None:
    return counts.accuracy if counts.num_examples else None
