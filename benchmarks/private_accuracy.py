"""Measure what differential privacy of a photo costs in accuracy, at one epsilon after another.

    python -m benchmarks.private_accuracy
    python -m benchmarks.private_accuracy --starts pretrained --epsilons 2,8 --seeds 0,1
    python -m benchmarks.private_accuracy --kept runs.jsonl

Ten stores share CIFAR-10 evenly. "scratch" trains the network `cnn` from nothing; "pretrained" the
last layer of EfficientNet-Lite0 with its published weights (extra `pretrained`) at 96 pixels. A
private run takes ROUNDS x STEPS steps, each with a tenth of a store's images, and as much noise as
the accountant asks for. "none" is plain training for as many rounds. Learning rates were chosen
with `flower-simulation sweep` on validation images, at epsilon 8 and seed 0. A row has the mean and
the deviation over the seeds, on all 10,000 test images. With --kept, each run's accuracy is written
to a file when the run ends, and a run that the file has is not repeated: the same command goes on
where it was stopped.
"""

import argparse
import json
import tempfile
from itertools import product
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


def accuracy(start: str, epsilon: str, seed: int, kept: Path | None) -> float:
    """Return a run's accuracy on the test images: that of the file of kept runs, or of a new run.

    Args:
        start: see `settings`
        epsilon: see `settings`
        seed: see `settings`
        kept: file with a JSON line for each run, to which a new run is added; None: none is kept
    """
    given = settings(start, epsilon, seed)
    lines = kept.read_text().splitlines() if kept and kept.exists() else []
    for line in map(json.loads, lines):
        if line["settings"] == given:
            return float(line["accuracy"])
    with tempfile.TemporaryDirectory() as folder:
        request = SimulationRequest(given | {"run.out": str(Path(folder) / "run")}, False, 0.0)
        found = float(simulate(request, Console(quiet=True))["test"]["accuracy"])
    if kept:
        with kept.open("a") as file:
            print(json.dumps({"accuracy": found, "settings": given}), file=file)
    return found


def main() -> None:
    """Print a row for each epsilon and a column for each start."""
    words = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    words.add_argument("--starts", default=",".join(STARTS), help="scratch, pretrained, or both")
    words.add_argument("--epsilons", default="1,2,4,8,none", help="comma-separated")
    words.add_argument("--seeds", default="0,1,2", help="comma-separated")
    words.add_argument("--kept", type=Path, metavar="FILE", help="accuracies of single runs")
    arguments = words.parse_args()
    starts = arguments.starts.split(",")
    epsilons = arguments.epsilons.split(",")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    found: dict[tuple[str, str], list[float]] = {}
    for seed, epsilon, start in product(seeds, epsilons, starts):  # a whole table early
        found.setdefault((epsilon, start), []).append(
            accuracy(start, epsilon, seed, arguments.kept)
        )
        print(f"epsilon {epsilon}, {start}: {_cell(found[epsilon, start])}", flush=True)
    shown = Table(title=f"Accuracy on CIFAR-10, delta {DELTA:g}", title_justify="left")
    for title in ("epsilon", "noise", *starts):
        shown.add_column(title, justify="right")
    for epsilon in epsilons:
        noise = settings(starts[0], epsilon, 0).get("privacy.noise", 0.0)
        shown.add_row(epsilon, f"{noise:.2f}", *(_cell(found[epsilon, start]) for start in starts))
    Console().print(shown)


def _cell(accuracies: list[float]) -> str:
    """Return the mean of accuracies, with their deviation if there are several, in percent."""
    deviation = f" ± {100 * stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    return f"{100 * fmean(accuracies):.1f}{deviation}"


if __name__ == "__main__":
    main()
