"""Measure start-up: --help of our commands, and the first round of W1.

    python -m benchmarks.startup

They are compared with bare Python, and with the first round of the bare loop.
"""

import dataclasses
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks import harness, simulators
from benchmarks.contestants import contestants, ours
from benchmarks.harness import Column, Contestant, Sample, measure
from benchmarks.work import WORKS

BIN = Path(sys.executable).parent
COMMANDS: dict[str, list[str | Path]] = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import torch": [sys.executable, "-c", "import torch"],
    **{
        f"{name} --help": [BIN / name, "--help"]
        for name in ("flower-simulation", "flower-server", "flower-client")
    },
}


def started(command: list[str | Path]) -> Sample:
    """Return the seconds of a command that does nothing but start."""
    return {"wall": measure(command).wall}


def main() -> None:
    """Print both tables."""
    parser = harness.parser(__doc__, times=5)
    simulators.add_options(parser)
    options = parser.parse_args()
    commands: dict[str, Contestant] = {
        name: partial(started, command) for name, command in COMMANDS.items()
    }
    harness.alternate(commands, 1)  # bytecode and the disk's cache
    bare = harness.alternate(commands, options.times)
    harness.table("Start-up", bare, [Column("wall", "s", 3)])
    work = simulators.settled(WORKS["w1"], 1, options.stores)
    with tempfile.TemporaryDirectory() as folder:
        images = simulators.prepared(options, Path(folder))
        ours(work, images)
        contestants_here = simulators.chosen(
            contestants(work, images, options.pfl_python), options.only or "ours,bare"
        )
        rounds = harness.alternate(contestants_here, options.times)
    harness.table(
        f"First round: {work.title}",
        rounds,
        [Column("first_round", "round 1 done, s", 1, ratio=True)],
    )
    harness.write(options.json, "startup", dataclasses.asdict(work), {**bare, **rounds})


if __name__ == "__main__":
    main()
