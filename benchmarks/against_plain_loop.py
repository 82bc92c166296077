"""Speed and accuracy of `flower-simulation` beside the bare loop of `plain_loop.py`, in turn, same settings.

    python benchmarks/against_plain_loop.py ../shared/data/cifar10 --pairs 3

Prints each pair, then the medians and the ratio of images per second. Quote the ratio: absolute
figures depend on what else the machine does.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = ["--stores", "10", "--rounds", "5", "--epochs", "1", "--batch-size", "32", "--lr", "0.01", "--seed", "1"]


def ours(dataset: str) -> tuple[float, float]:
    command = [str(Path(sys.executable).with_name("flower-simulation")), "run", "--dataset", dataset]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        extra = ["--partition", "iid", "--model", "niid-cnn", "--out", str(out)]
        subprocess.run([*command, *SETTINGS, *extra], check=True, stdout=subprocess.DEVNULL)
        summary = json.loads((out / "summary.json").read_text())
    return summary["images_per_second"], summary["test"]["accuracy"]


def plain(dataset: str, threads: int) -> tuple[float, float]:
    command = [sys.executable, str(Path(__file__).with_name("plain_loop.py")), dataset, *SETTINGS]
    answer = subprocess.run([*command, "--threads", str(threads)], check=True, capture_output=True, text=True)
    result = json.loads(answer.stdout)
    return result["images_per_second"], result["accuracy"][-1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("dataset")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="threads of the bare loop; 0: as many as torch chooses")
    options = parser.parse_args()
    ours(options.dataset)  # decode once, so that neither side pays for it
    pairs = []
    for number in range(options.pairs):
        pair = ours(options.dataset), plain(options.dataset, options.threads)
        pairs.append(pair)
        (speed, accuracy), (bare_speed, bare_accuracy) = pair
        print(
            f"pair {number + 1}: ours {speed:.0f} images/s, accuracy {accuracy:.4f};"
            f" bare loop {bare_speed:.0f} images/s, accuracy {bare_accuracy:.4f}; ratio {speed / bare_speed:.2f}"
        )
    ratios = [mine[0] / bare[0] for mine, bare in pairs]
    print(f"median ratio of images/s, ours to the bare loop: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
