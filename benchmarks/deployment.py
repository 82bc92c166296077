"""Measure a round of the deployment, compared with a plain Flower app on the same work.

    python -m benchmarks.deployment --rounds 10
    python -m benchmarks.deployment --kill store,app,superlink,server --times 1

Three stores on this machine train the 62k-parameter CNN of NIID-Bench on 500 images of CIFAR-10
each. All of them train and evaluate in every round, except in one row of ours, in which they only
train. The plain app runs under Flower's own commands. With --kill, processes are killed in
mid-round instead, and the table has the seconds until one more round than before is done.
"""

import argparse
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

from benchmarks import data, harness
from benchmarks.harness import BenchmarkError, Column, Contestant, Sample
from benchmarks.sides import SIDES, VICTIMS, Side, Work
from benchmarks.simulators import chosen

ROUND_LIMIT_SECONDS = 600.0  # an undisturbed deployment is given up if a round takes longer
LONG_RUN_ROUNDS = 100  # more than a run can have before its victims are killed
RECOVERY_SECONDS = 120.0  # a deployment whose process was killed has this time for a round
POLL_SECONDS = 0.01  # between two checks for a round's line
COLUMNS = [
    Column("round", "round, s", 2, ratio=True),
    Column("overhead", "beyond training, s", 2, ratio=True),
    Column("first", "round 1, s", 1, ratio=True),
    Column("begun", "commands to round 1, s", 1, ratio=True),
    Column("up", "kB up", unit=1e3, ratio=True),
    Column("down", "kB down", unit=1e3, ratio=True),
    Column("cpu", "CPU, s", 2, ratio=True),
    Column("accuracy", "accuracy", 3),
]


@dataclass(frozen=True)
class Mark:
    """The end of a round.

    Attributes:
        at: value of time.monotonic()
        up: bytes to the server so far
        down: bytes to the stores so far
        cpu: processor seconds so far
    """

    at: float
    up: int
    down: int
    cpu: float


class Watch(threading.Thread):
    """Thread that notes the end of every round of a deployment; a context manager.

    It reads the deployment's `lines`, and keeps a mark for each round by its number.

    Args:
        side: the deployment
    """

    def __init__(self, side: Side) -> None:
        super().__init__(daemon=True)
        self._side = side
        self._ended = threading.Event()
        self._size = -1
        self.marks: dict[int, Mark] = {}

    def __enter__(self) -> "Watch":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        """Look for new lines until the context ends."""
        while not self._ended.wait(POLL_SECONDS):
            with suppress(FileNotFoundError):
                if (size := self._side.lines.stat().st_size) != self._size:
                    self._size = size
                    self._note(last_round(self._side.lines.read_bytes()))

    def await_round(self, number: int, seconds: float) -> bool:
        """Wait for the end of a round; return whether it ended within `seconds`."""
        until = time.monotonic() + seconds
        while number not in self.marks and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
        return number in self.marks

    def _note(self, number: int) -> None:
        now = time.monotonic()
        wire = self._side.wire
        tree = self._side.tree
        if number >= 0 and number not in self.marks:
            self.marks[number] = Mark(now, wire.up, wire.down, tree.cpu() if tree else 0.0)


def last_round(lines: bytes) -> int:
    """Return the round of the last whole line; -1 if there is none."""
    whole_lines = lines[: lines.rfind(b"\n") + 1].splitlines()
    return int(json.loads(whole_lines[-1])["round"]) if whole_lines else -1


@contextmanager
def deployed_and_watched(side: type[Side], work: Work) -> Iterator[tuple[Side, Watch]]:
    """Deploy a side in a temporary folder while the context is open."""
    with (
        tempfile.TemporaryDirectory() as folder,
        side(work, Path(folder).resolve()) as deployed,
        Watch(deployed) as watch,
    ):
        yield deployed, watch


def measured(side: type[Side], work: Work) -> Sample:
    """Measure a deployment that is not disturbed."""
    began = time.monotonic()
    with deployed_and_watched(side, work) as (deployed, watch):
        for number in range(1, work.rounds + 1):
            if not watch.await_round(number, ROUND_LIMIT_SECONDS):
                raise BenchmarkError(
                    f"Round {number} did not end within {ROUND_LIMIT_SECONDS:g} s.\n"
                    f"{deployed.said()}"
                )
        rounds = deployed.played()
        first = rounds[1].seconds or watch.marks[1].at - watch.marks[0].at
    return {
        **per_round(
            watch.marks,
            {number: figures.training for number, figures in rounds.items()},
            len(work.folders),
        ),
        "first": first,
        "begun": watch.marks[1].at - began,
        "accuracy": rounds[work.rounds].accuracy,
    }


def per_round(
    marks: Mapping[int, Mark], training: Mapping[int, float], stores: int
) -> dict[str, float]:
    """Return medians over the rounds between the first and the last.

    The first and the last are left out because our server begins a round while it evaluates the one
    before. Bytes are means over all rounds, with joining, because bytes that are sent early cannot
    be assigned to a round by their time.

    Args:
        marks: the ends of the rounds, by number; 0: the beginning
        training: by round, seconds that the slowest store trained
        stores: number of stores

    Returns:
        Seconds, seconds beyond training and processor seconds of a round; and bytes up and down of
        a round and store.
    """
    inner = sorted(number for number in marks if number > 0)[:-1]
    pairs = [(number, marks[before], marks[number]) for before, number in pairwise(inner)]
    values_of_rounds: dict[str, list[float]] = {
        "round": [mark.at - before.at for _, before, mark in pairs],
        "overhead": [mark.at - before.at - training[number] for number, before, mark in pairs],
        "cpu": [mark.cpu - before.cpu for _, before, mark in pairs],
    }
    last = max(marks)
    bytes_per_round = {
        "up": marks[last].up / last / stores,
        "down": marks[last].down / last / stores,
    }
    return {
        key: statistics.median(values) for key, values in values_of_rounds.items()
    } | bytes_per_round


def recovered(side: type[Side], work: Work, victims: Sequence[str]) -> Sample:
    """Return the seconds from each victim's death to the end of the next round.

    Each victim gets a deployment of its own. The value is None if there was no such round.

    Args:
        side: the kind of deployment
        work: the training
        victims: processes to kill, see `benchmarks.sides.VICTIMS`
    """
    seconds_of_victim: dict[str, float | None] = {}
    for victim in victims:
        with deployed_and_watched(side, work) as (deployed, watch):
            if not watch.await_round(2, ROUND_LIMIT_SECONDS):
                raise BenchmarkError(
                    f"Two rounds did not end within {ROUND_LIMIT_SECONDS:g} s.\n{deployed.said()}"
                )
            time.sleep((watch.marks[2].at - watch.marks[1].at) / 2)
            done = max(watch.marks)
            killed = time.monotonic()
            deployed.kill(victim)
            is_back = watch.await_round(done + 1, RECOVERY_SECONDS)
            seconds_of_victim[victim] = watch.marks[done + 1].at - killed if is_back else None
    return seconds_of_victim


def main() -> None:
    """Print the table."""
    parser = harness.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--stores", type=int, default=3)
    parser.add_argument(
        "--images", type=int, default=500, help="images that a store trains on; default 500"
    )
    parser.add_argument(
        "--data", help="CIFAR-10: its name where that is known, or its folder; or shelf"
    )
    parser.add_argument(
        "--only", help="rows whose names begin with one of these, separated by commas"
    )
    parser.add_argument(
        "--kill", metavar="WHO", help=f"measure recovery: some of {','.join(VICTIMS)}"
    )
    options = parser.parse_args()
    victims = victims_of(options)
    # after all that was started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Ended by SIGTERM."))
    with tempfile.TemporaryDirectory() as folder:
        dataset = options.data or ("cifar10" if os.environ.get("FEDSHELF_DATA") else "shelf")
        stores = data.write_store_folders(
            data.prepare(dataset, Path(folder)),
            options.stores,
            options.images,
            Path(folder) / "stores",
        )
        rounds = LONG_RUN_ROUNDS if victims else options.rounds
        work = Work(rounds, stores, [store.with_suffix(".pt") for store in stores])
        contestants: dict[str, Contestant] = {
            name: partial(measured, side, work) for name, side in SIDES.items()
        }
        if victims:
            contestants = {
                name: partial(recovered, side, work, victims) for name, side in SIDES.items()
            }
        samples = harness.alternate(chosen(contestants, options.only), options.times)
    work_in_words = f"niid-cnn, {options.stores} stores of {options.images} images ({dataset})"
    if victims:
        columns = [Column(victim, f"{victim}, s", 1) for victim in victims]
        harness.table(
            f"From SIGKILL to the end of the next round: {work_in_words}", samples, columns
        )
        print(f"-: no such round within {RECOVERY_SECONDS:g} s")
    else:
        harness.table(f"A round of the deployment: {work_in_words}", samples, COLUMNS)
        print("kB: on the wire, a round and store; CPU: seconds of all processes, a round")
    settings = {
        "dataset": dataset,
        "stores": options.stores,
        "images": options.images,
        "rounds": work.rounds,
    }
    harness.write(options.json, "deployment", settings | {"kill": victims}, samples)


def victims_of(options: argparse.Namespace) -> list[str]:
    """Return the processes to kill.

    Raises:
        SystemExit: a name is unknown, or there are too few rounds.
    """
    victims = options.kill.split(",") if options.kill else []
    if unknown := [victim for victim in victims if victim not in VICTIMS]:
        raise SystemExit(
            f"--kill got {unknown[0]!r}; expected some of {', '.join(VICTIMS)}, separated by"
            " commas."
        )
    if options.rounds < 3:
        raise SystemExit(
            f"--rounds got {options.rounds}; expected 3 or more: the first and the last are not"
            " typical."
        )
    return victims


if __name__ == "__main__":
    main()
