"""Measure what differential privacy of a photo costs in accuracy, at one epsilon after another.

    python -m benchmarks.private_accuracy
    python -m benchmarks.private_accuracy --starts pretrained --epsilons 2,8 --seeds 0,1

Ten stores share CIFAR-10 evenly. "scratch" trains the network `cnn` from nothing; "pretrained" the
last layer of EfficientNet-Lite0 with its published weights (extra `pretrained`) at 96 pixels. A
private run takes ROUNDS x STEPS steps, each with a tenth of a store's images, and as much noise as
the accountant asks for. "none" is plain training for as many rounds. Learning rates were chosen
with `flower-simulation sweep` on validation images, at epsilon 8 and seed 0. A row has the mean and
the deviation over the seeds, on all 10,000 test images.
"""

import argparse
import tempfile
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table

from fedshelf.common.privacy.accountant import noise_needed
from fedshelf.simulations.run.simulate import SimulationRequest, simulate

ROUNDS = 10
STEPS = 10  # a round
RATE = 0.1
DELTA = 1e-5
PLAIN = "none"
SHARED = {
    "data.dataset": "cifar10",
    "data.stores": 10,
    "run.rounds": ROUNDS,
    "run.recipe": "none",
    "evaluation.every": ROUNDS,
    "evaluation.stores": False,
}
STARTS: dict[str, dict[str, object]] = {
    "scratch": {"model.name": "cnn"},
    "pretrained": {
        "model.name": "efficientnet-lite0",
        "model.weights": "imagenet",
        "model.freeze": "backbone",
        "data.image_size": 96,
    },
}
PRIVATE_LR = {"scratch": 2.0, "pretrained": 1.0}
PLAIN_LR = {"scratch": 0.05, "pretrained": 0.05}


def settings(start: str, epsilon: str, seed: int) -> dict[str, object]:
    """Return the settings of one run.

    Args:
        start: a key of STARTS
        epsilon: of a photo after all rounds, or "none"
        seed: of the run
    """
    common = {**SHARED, **STARTS[start], "run.seed": seed}
    if epsilon == PLAIN:
        return {**common, "train.lr": PLAIN_LR[start]}
    private = {
        "privacy.clip": 1.0,
        "privacy.noise": noise_needed(float(epsilon), RATE, ROUNDS * STEPS, DELTA),
        "privacy.rate": RATE,
        "privacy.steps": STEPS,
    }
    return {**common, **private, "train.lr": PRIVATE_LR[start]}


def accuracy(start: str, epsilon: str, seed: int) -> float:
    """Run a simulation and return its accuracy on the test images."""
    with tempfile.TemporaryDirectory() as folder:
        given = settings(start, epsilon, seed) | {"run.out": str(Path(folder) / "run")}
        summary = simulate(SimulationRequest(given, False, 0.0), Console(quiet=True))
    return float(summary["test"]["accuracy"])


def main() -> None:
    """Print a row for each epsilon and a column for each start."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--starts", default=",".join(STARTS), help="scratch, pretrained, or both")
    words.add_argument("--epsilons", default="1,2,4,8,none", help="comma-separated")
    words.add_argument("--seeds", default="0,1,2", help="comma-separated")
    arguments = words.parse_args()
    starts = arguments.starts.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    shown = Table(title=f"Accuracy on CIFAR-10, delta {DELTA:g}", title_justify="left")
    for title in ("epsilon", "noise", *starts):
        shown.add_column(title, justify="right")
    for epsilon in arguments.epsilons.split(","):
        noise = settings(starts[0], epsilon, 0).get("privacy.noise", 0.0)
        cells = []
        for start in starts:
            found = [accuracy(start, epsilon, seed) for seed in seeds]
            deviation = f" ± {100 * stdev(found):.1f}" if len(found) > 1 else ""
            cells.append(f"{100 * fmean(found):.1f}{deviation}")
            print(f"epsilon {epsilon}, {start}: {cells[-1]}", flush=True)
        shown.add_row(epsilon, f"{noise:.2f}", *cells)
    Console().print(shown)


if __name__ == "__main__":
    main()
