"""Measure whether the server finds a bad store and suspects no honest one, with new seeds.

    python -m benchmarks.suspicion --seeds 11,12,13
    python -m benchmarks.suspicion --seeds 14 --only "honest,exchanged cifar10"

The thresholds were not tuned on these seeds. Every seed plays all data sets and partitions, once
with honest stores only and once for each kind of harm with one bad store, which the seed draws; the
two networks are used in turn. A run has 10 rounds of 20 of 20 stores by default, but ends when the
server tells of its bad store. The server tells of a store when it would name it to a person, or has
set it aside: after `screening.patience` rounds under suspicion, or after answers that screening
refuses. Thresholds are those of `server/updates/anomaly_detection.py` and of the modules that it
uses.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import harness
from benchmarks.machine import machine

HARMS = ("honest", "exchanged", "shifted", "flipped", "scaled", "noise")
# share of the images that is left out: of CIFAR-10's 50,000 images, 8,000 are enough here
DATA = {"shelf": 0.0, "cifar10": 0.84}
PARTITIONS = ("iid", "dirichlet:0.3", "dirichlet:0.1", "labels:2")
MODELS = ("niid-cnn", "cnn")
STORES = 20
ROUNDS = 10


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        harm: the harm that its bad store does; "honest": there is none
        dataset: the name of the data set
        partition: the partition
        model: the network
        stores: number of stores
        cohort: stores of a round
        seed: seed of the run
    """

    harm: str
    dataset: str
    partition: str
    model: str
    stores: int
    cohort: int
    seed: int

    @property
    def name(self) -> str:
        """The name of the run."""
        crowd = f"{self.cohort} of {self.stores} stores"
        return f"{self.harm} {self.dataset} {self.partition} {self.model} {crowd}, seed {self.seed}"

    def settings(self) -> dict[str, Any]:
        """Return the flat settings of the run."""
        return {
            "data.dataset": self.dataset, "data.stores": self.stores,
            "data.partition": self.partition, "data.holdout": DATA[self.dataset],
            "data.image_size": 32, "model.name": self.model, "train.lr": 0.02,
            "cohort.fraction": self.cohort / self.stores, "evaluation.stores": False,
            "run.rounds": ROUNDS, "run.seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """The outcome of a case: see `benchmarks.harm.play`.

    Attributes:
        case: the run
        bad: the name of the bad store; None: there is none
        told: store -> round in which the server told of it
        why: store -> the reason in words
        rounds: number of rounds played
    """

    case: Case
    bad: str | None
    told: Mapping[str, int]
    why: Mapping[str, str]
    rounds: int

    @property
    def found(self) -> int | None:
        """The round in which the server told of the bad store; None if it did not."""
        return self.told.get(self.bad) if self.bad else None

    @property
    def alarms(self) -> dict[str, int]:
        """Honest stores of which the server told, with the round."""
        return {store: number for store, number in self.told.items() if store != self.bad}


def cases(seeds: Sequence[int], data: Sequence[str], stores: int, cohort: int) -> Iterator[Case]:
    """Yield all runs.

    Args:
        seeds: the seeds
        data: the names of the data sets
        stores: number of stores
        cohort: stores of a round
    """
    for seed in seeds:
        settings = [(dataset, partition) for dataset in data for partition in PARTITIONS]
        for position, (dataset, partition) in enumerate(settings):
            model = MODELS[(position + seed) % len(MODELS)]
            for harm in HARMS:
                yield Case(harm, dataset, partition, model, stores, cohort, seed)


def chosen(all_cases: Sequence[Case], only: str | None) -> list[Case]:
    """Return the cases whose names begin with one of the words in `only`.

    Raises:
        SystemExit: there are none.
    """
    chosen_cases = [
        case for case in all_cases if only is None or case.name.startswith(tuple(only.split(",")))
    ]
    if not chosen_cases:
        raise SystemExit(
            f"--only got {only}; expected the beginning of a run's name, such as:"
            f" {all_cases[0].name}."
        )
    return chosen_cases


def cells(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a row of the table.

    Returns:
        The number of runs; honest stores told of, of all; bad stores told of, of all; and their
        rounds.
    """
    honest = sum(outcome.case.stores - (outcome.bad is not None) for outcome in outcomes)
    alarms = sum(len(outcome.alarms) for outcome in outcomes)
    bad = [outcome for outcome in outcomes if outcome.bad is not None]
    rounds = [outcome.found for outcome in bad if outcome.found is not None]
    when = f"{median(rounds):g} ({min(rounds)} to {max(rounds)})" if rounds else "-"
    return [
        str(len(outcomes)),
        f"{alarms} of {honest}",
        f"{len(rounds)} of {len(bad)}" if bad else "-",
        when,
    ]


def mistakes(outcome: Outcome) -> Iterator[str]:
    """Yield a line for each mistake of the server."""
    if outcome.bad and outcome.found is None:
        yield f"missed: {outcome.case.name}: {outcome.bad}, in {outcome.rounds} rounds"
    for store, number in outcome.alarms.items():
        yield f"false alarm: {outcome.case.name}: {store} in round {number}: {outcome.why[store]}"


def play(case: Case) -> Outcome:
    """Play one run in this process."""
    from benchmarks import harm

    return Outcome(case, **harm.play(case.settings(), case.harm))


def show(outcomes: Sequence[Outcome]) -> None:
    """Print the table by harm, data and model, then every mistake."""
    shown = Table(title=f"Stores told within {ROUNDS} rounds", title_justify="left")
    for title in (
        "",
        "runs",
        "honest stores told",
        "bad stores told",
        "in round: median (first to last)",
    ):
        shown.add_column(title, justify="right" if title else "left")
    for keys in (
        lambda case: case.harm,
        lambda case: f"{case.dataset} {case.partition}",
        lambda case: f"{case.model} {case.cohort} of {case.stores}",
    ):
        for key in dict.fromkeys(keys(outcome.case) for outcome in outcomes):
            shown.add_row(
                key, *cells([outcome for outcome in outcomes if keys(outcome.case) == key])
            )
        shown.add_section()
    shown.add_row("all", *cells(outcomes))
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(shown)
    for outcome in outcomes:
        for line in mistakes(outcome):
            console.print(line, highlight=False, markup=False)
    console.print(" · ".join(machine().values()), highlight=False)


def available() -> list[str]:
    """Return the data sets on this machine; a message is printed for a missing one."""
    from fedshelf.simulations.datasets import search_paths

    if any(folder.is_dir() for folder in search_paths.candidates("cifar10")):
        return list(DATA)
    print(
        "CIFAR-10 is left out: it is not on this machine; set FEDSHELF_DATA to the folder with"
        " cifar10."
    )
    return [name for name in DATA if name != "cifar10"]


def main() -> None:
    """Play the chosen runs, one on each core."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", default="11,12,13", help="numbers, separated by commas; default 11,12,13"
    )
    parser.add_argument("--stores", type=int, default=STORES, help=f"default {STORES}")
    parser.add_argument("--cohort", type=int, help="stores in a round; default all")
    parser.add_argument(
        "--only", help="runs whose names begin with one of these, separated by commas"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the raw results there, too"
    )
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")]
    cohort = options.cohort or options.stores
    picked = chosen(list(cases(seeds, available(), options.stores, cohort)), options.only)
    outcomes = []
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for number, outcome in enumerate(pool.map(play, picked), start=1):
            outcomes.append(outcome)
            words = (
                ", ".join(f"{store} told in round {at}" for store, at in outcome.told.items())
                or "nobody told"
            )
            print(
                f"{number}/{len(picked)} {outcome.case.name}: {words}", file=sys.stderr, flush=True
            )
    show(outcomes)
    samples = {outcome.case.name: [asdict(outcome)] for outcome in outcomes}
    harness.write(
        options.json,
        "suspicion",
        {"seeds": seeds, "only": options.only, "stores": options.stores, "cohort": cohort},
        samples,
    )


if __name__ == "__main__":
    main()
