"""Measure the peak memory of each of the server's processes, with few and with many stores.

    python -m benchmarks.memory --times 1

A real server runs with all its processes. The stores (`benchmarks.crowd`) answer without training,
so that thirty of them fit on a machine. The model is ResNet-18 for ten classes: 11 million
parameters, 43 MiB.
"""

import os
import subprocess
import sys
import tempfile
import uuid
from collections import defaultdict
from functools import partial
from pathlib import Path

from benchmarks import harness
from benchmarks.harness import TAG, BenchmarkError, Column, Contestant, Sample
from benchmarks.processes import Tree, proportional, read
from fedshelf.server.addresses import free_port

MIB = 2**20
POLL_SECONDS = 0.2
# A word in the command line -> the part of the server to which it belongs; the first that fits.
PARTS = {
    "flower-superlink": "SuperLink",
    "flower-superexec": "SuperExec",
    "flwr-serverapp": "app",
    "door": "door",
    "flower-server": "launcher",
}


def peaks(stores: int, model: str, rounds: int, strategy: str) -> Sample:
    """Run a server once.

    Args:
        stores: number of stores
        model: name of the network
        rounds: number of rounds
        strategy: name of the strategy

    Returns:
        Peak bytes by part of the server, and of all parts together.

    Raises:
        BenchmarkError: the server failed.
    """
    tag = uuid.uuid4().hex
    port = free_port()
    env = {**os.environ, TAG: tag}
    with tempfile.TemporaryDirectory() as folder:
        server = [
            Path(sys.executable).with_name("flower-server"), "start", "--insecure", "--host",
            "127.0.0.1", "--port", port, "--stores", stores, "--rounds", rounds, "--model", model,
            "--strategy", strategy, "--live-port", 0, "--set", "data.image_size=32", "--out",
            Path(folder) / "run",
        ]  # fmt: skip
        crowd = [sys.executable, "-m", "benchmarks.crowd", f"127.0.0.1:{port}", stores]
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                list(map(str, server)), env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            store_process = subprocess.Popen(
                list(map(str, crowd)), stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
            tree = Tree(f"{TAG}={tag}", process.pid)
            try:
                peak_bytes = watched(process, tree)
            finally:
                store_process.kill()
                store_process.wait()
                tree.end()
        if process.wait():
            raise BenchmarkError((Path(folder) / "log").read_text(errors="replace")[-3000:])
    return peak_bytes


def watched(process: "subprocess.Popen[bytes]", tree: Tree) -> Sample:
    """Return the peak bytes by part of the server, from now until `process` ends."""
    peak_bytes: dict[str, float] = defaultdict(float)
    while process.poll() is None:
        now: dict[str, int] = defaultdict(int)
        for pid in tree.alive():
            now[part(pid)] += proportional(pid)
        for name, bytes_held in {**now, "all": sum(now.values())}.items():
            peak_bytes[name] = max(peak_bytes[name], bytes_held)
        try:
            process.wait(POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    return dict(peak_bytes)


def part(pid: int) -> str:
    """Return the part of the server to which a process belongs."""
    command = read(pid, "cmdline").decode(errors="replace")
    return next((name for word, name in PARTS.items() if word in command), "other")


def main() -> None:
    """Print the table."""
    parser = harness.parser(__doc__, times=1)
    parser.add_argument("--stores", type=int, nargs="+", default=[3, 30])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--strategy", default="fedavg")
    options = parser.parse_args()
    turns: dict[str, Contestant] = {
        f"{stores} stores": partial(peaks, stores, options.model, options.rounds, options.strategy)
        for stores in options.stores
    }
    samples = harness.alternate(turns, options.times)
    names = [*dict.fromkeys(PARTS.values()), "other", "all"]
    columns = [
        Column(name, f"{name}, MiB", unit=MIB, ratio=name in ("app", "SuperLink", "all"))
        for name in names
    ]
    harness.table(
        "Peak memory of the server", samples, columns, ours=f"{options.stores[-1]} stores"
    )
    settings = {"model": options.model, "rounds": options.rounds, "strategy": options.strategy}
    harness.write(options.json, "memory", settings, samples)


if __name__ == "__main__":
    main()
