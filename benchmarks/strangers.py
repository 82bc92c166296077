"""Measure whether unknown clients delay the stores' rounds.

    python -m benchmarks.strangers

Light stores (`benchmarks.light_stores`) train round after round at one server over TLS. Rounds are
timed while each crowd of `benchmarks.strange_clients` connects, in turn, and while none does. The
first round of each crowd is left out, and the next few are timed; ratios are taken within a turn.
The crowds share the machine's cores with server and stores, so a column has the cores that they
take themselves. The exit code is 1 if a crowd makes rounds more than 1.5 times as long.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import BenchmarkError, Column, Sample, Samples
from benchmarks.loaded_server import TICKS_PER_SECOND, Case, Fleet, Server
from benchmarks.processes import ticks
from benchmarks.strange_clients import KINDS

ALONE = "undisturbed"
MAX_RATIO = 1.5  # of a round's time to that of an undisturbed one
NAMES = {
    "slow": "2,000 slow connections", "bodies": "200 MB of unfinished bodies",
    "headers": "20,000 headers", "handshakes": "1,000 handshakes a second",
}  # fmt: skip
COLUMNS = [
    Column("round", "round, s", 2),
    Column("door", "door, cores", 2),
    Column("server", "whole server, cores", 2),
    Column("crowd", "strangers themselves, cores", 2),
]


class Crowd:
    """Unknown clients of a kind, in a process of their own; a context manager.

    Args:
        kind: a key of `benchmarks.strange_clients.KINDS`; None: no clients
        server: the server to which they connect
    """

    def __init__(self, kind: str | None, server: Server) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if kind:
            authority = server.kits.parent / "server" / "ca.crt"
            command = [
                sys.executable,
                "-m",
                "benchmarks.strange_clients",
                kind,
                str(server.port),
                str(authority),
            ]
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def __enter__(self) -> "Crowd":
        """Wait until all of them are connected.

        Raises:
            BenchmarkError: they did not come.
        """
        if self._process:
            assert self._process.stdout is not None
            if self._process.stdout.readline() != b"ready\n":
                raise BenchmarkError("The strangers did not come; what they printed says why.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.kill()
            self._process.communicate()

    def cpu(self) -> float:
        """Return the processor seconds so far.

        Raises:
            BenchmarkError: they have ended.
        """
        if not self._process:
            return 0.0
        if self._process.poll() is not None:
            raise BenchmarkError("The strangers have gone; what they printed says why.")
        return ticks(self._process.pid) / TICKS_PER_SECOND


def measured(server: Server, kind: str | None, rounds: int) -> Sample:
    """Time rounds while unknown clients connect.

    Args:
        server: the server
        kind: the kind of clients; None: no clients
        rounds: number of rounds that are timed

    Returns:
        Seconds a round, and the cores that the gateway, the whole server and the clients take.
    """
    with Crowd(kind, server) as crowd:
        done = len(server.rounds()) + 1
        began = server.await_rounds(done)
        cpu_before = server.cpu()
        crowd_cpu_before = crowd.cpu()
        seconds = server.await_rounds(done + rounds) - began
        cpu_after = server.cpu()
        parts = {
            part: (cpu_after[name] - cpu_before[name]) / seconds
            for part, name in (("door", "door"), ("server", "all"))
        }
        return {
            "round": seconds / rounds,
            **parts,
            "crowd": (crowd.cpu() - crowd_cpu_before) / seconds,
        }


def verdicts(samples: Samples) -> list[tuple[str, bool]]:
    """Return a sentence on each crowd, and whether its rounds are short enough."""
    sentences = []
    for name in samples:
        if (
            name != ALONE
            and (times := harness.ratio(samples[name], samples[ALONE], "round")) is not None
        ):
            is_good = times <= MAX_RATIO
            word = "at most" if is_good else "MORE than"
            sentences.append(
                (f"{name}: {times:.2f} times as long as undisturbed, {word} {MAX_RATIO:g}", is_good)
            )
    return sentences


def play(stores: int, kinds: Sequence[str], rounds: int, times: int) -> Samples:
    """Measure every kind in turn, at one server.

    Args:
        stores: number of light stores
        kinds: kinds of unknown clients
        rounds: rounds that are timed for each kind and turn
        times: number of turns
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        server = Server(Case(stores, 1.0, 1_000_000), directory)
        server.provision()
        stack.enter_context(server)
        stack.enter_context(Fleet(server.kits, server.names, directory))
        server.await_rounds(3)
        return harness.alternate(
            {
                ALONE: partial(measured, server, None, rounds),
                **{NAMES[kind]: partial(measured, server, kind, rounds) for kind in kinds},
            },
            times,
        )


def main() -> None:
    """Print the table and the verdicts."""
    parser = harness.parser(__doc__, times=5)
    parser.add_argument(
        "--stores", type=int, default=20, help="light stores, all of which take part in each round"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="rounds that are timed beside each crowd in each turn"
    )
    parser.add_argument(
        "--only", default=",".join(KINDS), help="kinds of strangers, separated by commas"
    )
    options = parser.parse_args()
    kinds = options.only.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(
            f"--only got {', '.join(sorted(unknown))}; expected some of {', '.join(KINDS)}"
        )
    began = time.monotonic()
    samples = play(options.stores, kinds, options.rounds, options.times)
    harness.write(
        options.json, "strangers", {"stores": options.stores, "rounds": options.rounds}, samples
    )
    harness.table(
        f"Rounds of {options.stores} light stores beside strangers", samples, COLUMNS, ours=ALONE
    )
    sentences = verdicts(samples)
    print(*(words for words, _ in sentences), f"{time.monotonic() - began:.0f} s in all", sep="\n")
    sys.exit(0 if all(is_good for _, is_good in sentences) else 1)


if __name__ == "__main__":
    main()
