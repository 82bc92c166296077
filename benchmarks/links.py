"""Measure the accuracy and the bytes of compressed updates, for every codec.

    python -m benchmarks.links ../shared/data/cifar10 --times 3

The work is the 62k-parameter CNN of NIID-Bench on 10 stores with labels by Dirichlet(0.5), all of
them in every round. Turn N uses seed N for all codecs, so that they share the split, the first
model and the order of images.
"""

import itertools
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.harness import Column, Sample, alternate, measure, parser, table, write

CODECS: Mapping[str, Mapping[str, object]] = {
    "none": {},
    "fp16": {"messages.compression": "fp16"},
    "int8": {"messages.compression": "int8"},
    "top-k, 10%": {"messages.compression": "top-k"},
    "top-k, 1%": {"messages.compression": "top-k", "messages.keep": 0.01},
}
COLUMNS = [
    Column("accuracy", "accuracy, last 5 rounds %", 2, unit=0.01),
    Column("best", "best %", 2, unit=0.01),
    Column("up", "kB up a round", 1, unit=1e3, ratio=True),
    Column("train", "train phase ms", unit=1e-3, ratio=True),
]


def contestant(
    dataset: str, rounds: int, stores: int, codec: Mapping[str, object]
) -> Callable[[], Sample]:
    """Return a contestant that runs this codec, each time with the next seed."""
    seeds = itertools.count(1)
    return lambda: once(dataset, rounds, stores, codec, next(seeds))


def once(dataset: str, rounds: int, stores: int, codec: Mapping[str, object], seed: int) -> Sample:
    """Run `rounds` rounds once; a round's bytes and time are medians over rounds.

    Args:
        dataset: the value of `--dataset`
        rounds: number of rounds
        stores: number of stores
        codec: flat settings of the codec
        seed: seed of the run
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        settings = {
            "data.dataset": dataset, "data.stores": stores, "data.partition": "dirichlet:0.5",
            "data.image_size": 32, "data.crop": 4, "model.name": "niid-cnn", "train.lr": 0.01,
            "train.epochs": 2, "evaluation.stores": False, "run.rounds": rounds, "run.out": out,
            "run.seed": seed, **codec,
        }  # fmt: skip
        flags = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        measure([Path(sys.executable).with_name("flower-simulation"), "run", *flags])
        records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
        accuracies = [record["test"]["accuracy"] for record in records]
        return {
            "accuracy": statistics.mean(accuracies[-5:]),
            "best": max(accuracies),
            "up": statistics.median(record["bytes"]["up"] for record in records),
            "train": statistics.median(record["seconds"]["train"] for record in records),
        }


def main() -> None:
    """Print the table."""
    command_line = parser(__doc__)
    command_line.add_argument("dataset")
    command_line.add_argument("--rounds", type=int, default=20)
    command_line.add_argument("--stores", type=int, default=10)
    arguments = command_line.parse_args()
    contestants = {
        name: contestant(arguments.dataset, arguments.rounds, arguments.stores, codec)
        for name, codec in CODECS.items()
    }
    samples = alternate(contestants, arguments.times)
    table("Compressed updates", samples, COLUMNS, ours="none")
    write(
        arguments.json,
        "links",
        {"dataset": arguments.dataset, "rounds": arguments.rounds, "stores": arguments.stores},
        samples,
    )


if __name__ == "__main__":
    main()
