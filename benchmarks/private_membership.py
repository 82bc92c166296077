"""Measure whether an update tells which photos were there, with private training, over many stores.

    python -m benchmarks.private_membership
    python -m benchmarks.private_membership --images 100 --noises 0,2 --seeds 20

It is the attack of `flower-simulation reveal` on CIFAR-10 and `niid-cnn`, by itself. Each seed has
other photos, other halves of them and another initial model, so the seeds' areas under the curve
are independent, and their mean has an interval by Student's t. Noise 0 is training without privacy.
"""

import argparse
import math
from statistics import fmean, stdev
from typing import Any

from rich.console import Console

from fedshelf.common.metrics.proportions import Z_95
from fedshelf.simulations.reveal.command import open_run
from fedshelf.simulations.reveal.membership import measure_membership
from fedshelf.simulations.reveal.protections import Privacy, with_privacy
from fedshelf.simulations.reveal.server_view import ServerView

RATE = 0.25
STEPS = 20


def settings(noise: float, seed: int) -> dict[str, Any]:
    """Return the settings of a run; without noise it trains for one epoch in batches of 32."""
    common = {"data.dataset": "cifar10", "model.name": "niid-cnn", "run.seed": seed}
    if not noise:
        return common | {"train.epochs": 1, "train.batch_size": 32}
    return with_privacy(
        common
        | {
            "privacy.clip": 1.0,
            "privacy.noise": noise,
            "privacy.rate": RATE,
            "privacy.steps": STEPS,
        }
    )


def interval_margin(values: list[float]) -> float:
    """Return half the 95% interval of a mean, by Student's t.

    The quantile is by Abramowitz and Stegun 1964, 26.7.5: 2.20 for 12 values.
    """
    freedom = len(values) - 1
    z = Z_95
    quantile = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return quantile * stdev(values) / math.sqrt(len(values))


def measure(images: int, noise: float, seeds: int) -> str:
    """Return a sentence about stores of so many photos."""
    areas, named, bounds = [], [], []
    for seed in range(seeds):
        start, pool, _ = open_run(settings(noise, seed), Console(quiet=True))
        view = ServerView.of_run(start, pool)
        found = measure_membership(view, images, seed, lambda _done, _total: None)
        areas.append(found.auc)
        named.append(found.named[8])
        bounds.append(found.epsilon)
        print(f"  seed {seed}: AUC {found.auc:.3f}", flush=True)
    told = Privacy.of_update(start.plan.config.privacy).epsilon if noise else math.inf
    margin = interval_margin(areas)
    mean = fmean(areas)
    return (
        f"{images} photos, noise {noise:g} (epsilon {told:.2f}), {seeds} seeds: AUC {mean:.3f}"
        f" ({mean - margin:.3f} to {mean + margin:.3f}), {8 * fmean(named):.2f} of 8 photos named,"
        f" epsilon at least {max(bounds):.2f}"
    )


def main() -> None:
    """Print a line for each size of a store and each noise."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--images", default="100,200", help="photos of a store, comma-separated")
    words.add_argument("--noises", default="0,2", help="multiples of the clip, comma-separated")
    words.add_argument("--seeds", type=int, default=12, help="number of stores of each kind")
    arguments = words.parse_args()
    for images in arguments.images.split(","):
        for noise in arguments.noises.split(","):
            print(measure(int(images), float(noise), arguments.seeds), flush=True)


if __name__ == "__main__":
    main()
