"""Count the files of Fedshelf that one round enters: how far a reader walks to understand a round.

    python -m benchmarks.files_of_a_round simulation
    python -m benchmarks.files_of_a_round deployment

A file counts if one of its functions is called after round 1, when all that is imported, opened and
compiled once has been; bodies of modules and generated methods of data classes do not count. Two
walks are counted: up to the screened updates of round 2, and whole rounds with their evaluation.
The simulation has three stores and the sequential engine in one process. The deployment has one
server and two stores with kits on this machine; the four processes count through which a round
goes. Its whole rounds are 2 and 3, because stores begin to train for a round while the one before
is evaluated. All train the 62k-parameter CNN of NIID-Bench with FedAvg; all other settings are the
defaults.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import fedshelf
from benchmarks import data
from benchmarks.deployment import ROUND_LIMIT_SECONDS, deployed_and_watched
from benchmarks.harness import BenchmarkError, measure
from benchmarks.sides import Ours, OursTraining, Side, Work

CALL_NOTES = Path(__file__).with_name("call_notes")
ROUND = "RoundLoop.play"
TRAINING = "RoundLoop._train"  # the part of a round up to the screened updates
# processes of a deployment, by a file that only this process enters in a round
PROCESSES = {
    "server app": "server/training/round_loop.py",
    "gateway": "server/gateway/exchange.py",
    "store": "client/session/poll_loop.py",
    "worker of a store": "client/process/handler.py",
}
Notes = Mapping[str, Sequence[tuple[float, str, str]]]
"""Process -> (second, "call" or "return", file or function)."""


def main() -> None:
    """Print the files of a round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runtime", choices=("simulation", "deployment"))
    options = parser.parse_args()
    os.environ |= {
        "PYTHONPATH": str(CALL_NOTES),
        "CALL_NOTES_PACKAGE": str(Path(fedshelf.__file__).parent),
        "CALL_NOTES_SPANS": f"{ROUND},{TRAINING}",
    }
    if options.runtime == "simulation":
        noted = notes_of(simulate)
        training = entered(noted, span(noted, TRAINING, 2, 2))
        rounds = entered(noted, span(noted, ROUND, 2, 2))
    else:
        noted = notes_of(partial(deploy, OursTraining))
        training = by_part(entered(noted, span(noted, TRAINING, 2, 2)))
        noted = notes_of(partial(deploy, Ours))
        rounds = by_part(entered(noted, span(noted, ROUND, 2, 3)))
    _print(training, "up to the screened updates")
    _print(rounds, "a round")


def _print(files: Mapping[str, set[str]], title: str) -> None:
    for process, found in files.items():
        print(f"{process}, {len(found)} files:", *sorted(found), sep="\n  ")
    print(f"{title}: {len(set().union(*files.values()))} files\n")


def notes_of(play: Callable[[Path], None]) -> Notes:
    """Return the notes of all processes that `play` starts; its argument is a folder to use."""
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        os.environ["CALL_NOTES"] = str(notes)
        play(Path(folder))
        return read(notes)


def simulate(folder: Path) -> None:
    """Run three rounds of a simulation, in one process."""
    measure(
        [
            *(Path(sys.executable).with_name("flower-simulation"), "run"),
            *("--dataset", "shelf", "--stores", "3", "--rounds", "3"),
            *("--model", "niid-cnn", "--engine", "sequential", "--set", "run.workers=1"),
            *("--out", folder / "run"),
        ]
    )


def deploy(side: type[Side], folder: Path) -> None:
    """Run four rounds of a server and two stores."""
    stores = data.write_store_folders(data.prepare("shelf", folder), 2, 100, folder / "stores")
    with deployed_and_watched(side, Work(4, stores, [])) as (deployed, watch):
        if not watch.await_round(4, ROUND_LIMIT_SECONDS):
            raise BenchmarkError(
                f"Four rounds did not end within {ROUND_LIMIT_SECONDS:g} s.\n{deployed.said()}"
            )


def read(folder: Path) -> Notes:
    """Return the notes that processes have written (see `call_notes/sitecustomize.py`)."""
    noted = {}
    for file in folder.iterdir():
        lines = (line.split() for line in file.read_text(encoding="utf-8").splitlines())
        noted[file.name] = [(float(second), event, subject) for second, event, subject in lines]
    return noted


def span(notes: Notes, function: str, first: int, last: int) -> tuple[float, float]:
    """Return the seconds at which call `first` of a function began and call `last` ended."""
    every = [note for noted in notes.values() for note in noted if note[2] == function]
    calls, returns = (
        sorted(second for second, event, _ in every if event == wanted)
        for wanted in ("call", "return")
    )
    return calls[first - 1], returns[last - 1]


def entered(notes: Notes, within: tuple[float, float]) -> dict[str, set[str]]:
    """Return the files that each process entered between two seconds, if any."""
    begin, end = within
    files = {
        process: {
            subject
            for second, _, subject in noted
            if subject.endswith(".py") and begin <= second <= end
        }
        for process, noted in notes.items()
    }
    return {process: found for process, found in files.items() if found}


def by_part(files: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return the files by the part that processes have in a round; others are left out."""
    return {
        part: set().union(*(found for found in files.values() if mark in found))
        for part, mark in PROCESSES.items()
    }


if __name__ == "__main__":
    main()
