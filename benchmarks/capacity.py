"""Measure how many stores one server can hold, with many light stores.

    python -m benchmarks.capacity --stores 3,30,100,300,1000 --cohorts 1,0.1 --rounds 4
    python -m benchmarks.capacity --stores 300 --cohorts 1 --idle 20

The table has seconds, processor time, memory and requests. Stores (`benchmarks.light_stores`)
connect over TLS with keys of their own and answer at once with a model of 62k weights, so a round's
seconds are the time that the system adds to training. If a round asks all of them, they first wait
idle until the last one joins. If it asks some, rounds begin with these, and the measurement begins
when all have joined. The light stores share the machine's cores with the server; their own
processor time is in a column of its own.
"""

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import harness
from benchmarks.loaded_server import Case, Fleet, Server
from benchmarks.machine import machine
from fedshelf.server.gateway.exchange import HOLD_SECONDS
from fedshelf.server.ipc.presence import PASSED_EVERY

SETTLE_SECONDS = 8.0  # after this time all stores that have joined wait for orders


def measured(case: Case, idle_seconds: float) -> dict[str, float]:
    """Run one server and its stores, and measure them from the first to the last round.

    Args:
        case: the measurement
        idle_seconds: seconds of idling that are measured before; 0: none

    Returns:
        A number for each of `COLUMNS`.
    """
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        directory = Path(folder)
        server = Server(case, directory)
        server.provision()
        stack.enter_context(server)
        fleet = stack.enter_context(Fleet(server.kits, server.names[:-1], directory))
        server.await_joined(case.stores - 1)
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        cpu_before = server.cpu()
        time.sleep(idle_seconds)
        cpu_after = server.cpu()
        idle_passed = time.monotonic() - began
        idle = {
            part: (seconds - cpu_before[part]) / idle_passed for part, seconds in cpu_after.items()
        }
        fleet.join(server.names[-1])
        first = len(server.rounds()) + 1
        ends = [server.await_rounds(first)]
        cpu_before = server.cpu()
        fleet_cpu_before = fleet.cpu()
        peak = server.tree.memory()
        for number in range(first + 1, first + case.rounds - 1):
            ends.append(server.await_rounds(number))
            peak = max(peak, server.tree.memory())
        cpu_after = server.cpu()
        stores = (case.rounds - 2) * case.asked
        light = fleet.cpu() - fleet_cpu_before
        fleet_counts = _of_fleet(stack, fleet, case, server)
        median = statistics.median(later - before for before, later in itertools.pairwise(ends))
        return {
            "round": median,
            "rate": fleet_counts["requests"] * case.asked / median,
            "superlink": (cpu_after["superlink"] - cpu_before["superlink"]) / stores,
            "door": (cpu_after["door"] - cpu_before["door"]) / stores,
            "app": (cpu_after["app"] - cpu_before["app"]) / stores,
            "server": (cpu_after["all"] - cpu_before["all"]) / stores,
            "light": light / stores,
            "memory": peak,
            "idle": idle["all"] if idle_seconds else math.nan,
            **fleet_counts,
        }


def _of_fleet(stack: ExitStack, fleet: Fleet, case: Case, server: Server) -> dict[str, float]:
    """Return the counts of the light stores, once server and stores have ended."""
    if case.is_whole:
        server.await_rounds(case.rounds)
    stack.close()
    reports = fleet.reports()
    waits = sorted(wait for report in reports for wait in report["idle"])
    requests = sum(sum(report["requests"].values()) for report in reports)
    failures = sum(
        count
        for report in reports
        for name, count in report["failures"].items()
        if name not in FAILURES_BEFORE_REGISTRATION
    )
    order_requests = sum(
        count
        for report in reports
        for name, count in report["requests"].items()
        if name not in IDLE_CALLS
    )
    return {
        # else most are of joining
        "requests": order_requests / case.rounds / case.asked if case.is_whole else math.nan,
        "p99": max(waits[int(0.99 * len(waits))] - HOLD_SECONDS, 0.0) if waits else 0.0,
        "failures": failures / requests,
    }


# to stores that are not registered yet
FAILURES_BEFORE_REGISTRATION = {f"activate-node {status}" for status in (401, 412, 503)}
IDLE_CALLS = ("pull-messages", "send-node-heartbeat", "activate-node")
COLUMNS = {
    "round": ("round, s", 1, 1.0), "server": ("CPU a store and round, ms", 0, 1e-3),
    "superlink": ("SuperLink, ms", 0, 1e-3), "door": ("door, ms", 0, 1e-3),
    "app": ("app, ms", 0, 1e-3), "light": ("light store, ms", 0, 1e-3),
    "requests": ("requests a store and round", 1, 1.0), "rate": ("requests a second", 0, 1.0),
    "p99": (f"p99 of an idle poll beyond {HOLD_SECONDS:g} s, ms", 0, 1e-3),
    "memory": ("memory, MB", 0, 1e6), "idle": ("idle server, % of a core", 0, 0.01),
    "failures": ("failed requests, %", 1, 0.01),
}  # fmt: skip


def show(samples: Mapping[str, Sequence[Mapping[str, float]]]) -> None:
    """Print a row for each case."""
    table = Table(
        title=(
            f"How many stores one server holds ({machine()['cpu']})" if "cpu" in machine() else None
        )
    )
    table.add_column("")
    for title, _, _ in COLUMNS.values():
        table.add_column(title, justify="right")
    for name, case_samples in samples.items():
        middle = {key: statistics.median(sample[key] for sample in case_samples) for key in COLUMNS}
        texts = [f"{middle[key] / unit:.{digits}f}" for key, (_, digits, unit) in COLUMNS.items()]
        table.add_row(name, *("–" if word == "nan" else word for word in texts))
    Console(width=200).print(table)


def main() -> None:
    """Measure the cases, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--stores", default="3,30,100,300,1000", help="numbers, separated by commas"
    )
    parser.add_argument("--cohorts", default="1,0.1", help="shares of the stores that a round asks")
    parser.add_argument(
        "--rounds", type=int, default=4, help="rounds of each case; the first is not counted"
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=PASSED_EVERY,
        help="seconds of idling that are measured, where all are asked",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the raw results there, too"
    )
    options = parser.parse_args()
    sizes = [int(word) for word in options.stores.split(",")]
    shares = [float(word) for word in options.cohorts.split(",")]
    cases = [
        Case(size, share, options.rounds) for size in sizes for share in shares if size * share >= 1
    ]
    samples = {}
    for case in cases:
        samples[case.name] = [measured(case, options.idle if case.is_whole else 0.0)]
        print(case.name, json.dumps(samples[case.name][0]), file=sys.stderr, flush=True)
    show(samples)
    harness.write(options.json, "capacity", {"rounds": options.rounds}, samples)


if __name__ == "__main__":
    main()
