"""Compare simulators on the same federated training, in turn.

    python -m benchmarks.simulators w1      (or w2, w3)

They are ours, the bare PyTorch loop, Flower's simulation and pfl-research.
"""

import argparse
import dataclasses
import sys
import tempfile
from pathlib import Path

from benchmarks import data, harness
from benchmarks.contestants import Images, contestants, ours
from benchmarks.harness import Column, Contestant
from benchmarks.work import WORKS, Work

MIB = 2**20
COLUMNS = [
    Column("images_per_second", "images/s, steady", ratio=True),
    Column("first_round", "round 1 done, s", 1, ratio=True),
    Column("wall", "all, s", 1, ratio=True),
    Column("peak_bytes", "peak, MiB", unit=MIB, ratio=True),
    Column("accuracy", "accuracy", 3),
]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of every comparison with rivals."""
    parser.add_argument(
        "--data", default="cifar10", help="CIFAR-10: its name where that is known, or its folder"
    )
    parser.add_argument(
        "--synthetic", type=int, metavar="N", help="N random images instead of CIFAR-10"
    )
    parser.add_argument("--stores", type=int, help="fewer stores than the work has")
    parser.add_argument(
        "--only", help="rows whose names begin with one of these, separated by commas"
    )
    parser.add_argument(
        "--pfl-python",
        default=sys.executable,
        help="the interpreter that has pfl; default: this one",
    )


def settled(work: Work, rounds: int | None, stores: int | None) -> Work:
    """Return the work with a real device, and with fewer rounds or stores if asked.

    Args:
        work: the training
        rounds: number of rounds; None: the work's own
        stores: number of stores; None: the work's own
    """
    import torch

    device = (
        ("cuda" if torch.cuda.is_available() else "cpu") if work.device == "auto" else work.device
    )
    work = dataclasses.replace(
        work, device=device, rounds=rounds or work.rounds, stores=stores or work.stores
    )
    return dataclasses.replace(work, cohort=min(work.cohort, work.stores))


def prepared(options: argparse.Namespace, folder: Path) -> Images:
    """Return the images of a comparison; those made for it lie in `folder`."""
    dataset = data.synthesize(options.synthetic, folder) if options.synthetic else options.data
    return Images(dataset, data.prepare(dataset, folder))


def chosen(contestants_here: dict[str, Contestant], only: str | None) -> dict[str, Contestant]:
    """Return the contestants whose names begin with one of the words in `only`.

    Raises:
        SystemExit: there are none.
    """
    if only is None:
        return contestants_here
    chosen_ones = {
        name: contestants_here[name]
        for name in contestants_here
        if name.startswith(tuple(only.split(",")))
    }
    if not chosen_ones:
        raise SystemExit(
            f"--only got {only}; expected the beginning of one of: {', '.join(contestants_here)}."
        )
    return chosen_ones


def main() -> None:
    """Print the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("work", choices=WORKS)
    parser.add_argument("--rounds", type=int, help="fewer rounds than the work has")
    add_options(parser)
    options = parser.parse_args()
    work = settled(WORKS[options.work], options.rounds, options.stores)
    with tempfile.TemporaryDirectory() as folder:
        images = prepared(options, Path(folder))
        # what only the very first run on a machine pays for
        ours(dataclasses.replace(work, rounds=1), images)
        samples = harness.alternate(
            chosen(contestants(work, images, options.pfl_python), options.only), options.times
        )
    harness.table(f"{options.work.upper()}: {work.title}", samples, COLUMNS)
    harness.write(options.json, options.work, dataclasses.asdict(work), samples)


if __name__ == "__main__":
    main()
