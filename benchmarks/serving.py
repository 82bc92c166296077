"""Measure `flower-client serve`, and a bare loop that decodes the same photos for the same model.

    flower-client export-onnx RUN --out shop.onnx
    python -m benchmarks.serving shop.onnx ../shared/data/clothing/test

The service answers photos on some connections at once; its processor time for each is compared
with that of loops without any HTTP, which decode the same bytes and run batches of the size that
the service's batches had. The aim is 0.75. Service and clients keep all cores at work, and cores
share caches, memory and often more; so as many loops run as there are cores. One loop alone, with
the rest of the machine at its service, is told beside them. Then hostile requests, some of them
slow, come while honest ones go on. Told at the end: processor time while idle (aim: 0.5% of a
core) and memory (150 MB).
"""

import argparse
import http.client
import itertools
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.harness import parser
from benchmarks.hostile_photos import hostile_requests
from benchmarks.machine import machine
from fedshelf.common.images.decoding.decode import decode
from fedshelf.common.images.decoding.limits import SERVICE_LIMITS
from fedshelf.common.images.decoding.parallel import usable_cores
from fedshelf.common.inference.loading import load

IDLE_SECONDS = 20.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Server:
    """A `flower-client serve` process on this machine."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self.port = port

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def memory_mb(self) -> float:
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(text.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6

    def post(self, connection: http.client.HTTPConnection, photo: bytes) -> int:
        connection.request("POST", "/v1/classify", photo, {"content-type": "image/jpeg"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def mean_batch(self) -> float:
        connection = self.connection()
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        counts = float(values["fedshelf_batch_photos_count"])
        return float(values["fedshelf_batch_photos_sum"]) / counts


@contextmanager
def served(model: Path) -> Iterator[Server]:
    """A service of a model until the context ends."""
    command = [Path(sys.executable).parent / "flower-client", "serve", model, "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        yield Server(process, int(line.partition(";")[0].rpartition(":")[2]))
    finally:
        process.terminate()
        process.wait(60)


def answer_all(
    server: Server, photos: Sequence[bytes], count: int, connections: int
) -> list[float]:
    """Send photos on some connections; return the seconds that each answer took."""
    numbers = iter(range(count))
    lock = threading.Lock()

    def send() -> list[float]:
        connection = server.connection()
        seconds = []
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return seconds
            began = time.perf_counter()
            status = server.post(connection, photos[number % len(photos)])
            seconds.append(time.perf_counter() - began)
            assert status == 200, status

    with ThreadPoolExecutor(connections) as pool:
        return [
            s for part in [pool.submit(send) for _ in range(connections)] for s in part.result()
        ]


def bare_loop(model: Path, photos: Sequence[bytes], count: int, batch: int) -> float:
    """Return the processor seconds of a photo without any service, in one loop."""
    predictor = load(model)
    form = predictor.pixel_format
    cycle = itertools.cycle(photos)
    for warm in (True, False):
        began = time.process_time()
        for _ in range(1 if warm else max(1, count // batch)):
            pixels = [decode(next(cycle), form, SERVICE_LIMITS) for _ in range(batch)]
            predictor.predict(np.stack(pixels))
    return (time.process_time() - began) / (max(1, count // batch) * batch)


@dataclass(frozen=True)
class Turn:
    """The processor seconds of a photo in one turn.

    served: by the service
    bare:   by loops without one, one on each core, right after it
    alone:  by one such loop, right after them
    """

    served: float
    bare: float
    alone: float


def serve_and_repeat(
    server: Server,
    given: argparse.Namespace,
    photos: Sequence[bytes],
    seconds: list[float],
    loops: ProcessPoolExecutor,
) -> Turn:
    """Answer a turn's requests, and do the same work without a service.

    seconds: gets the seconds that each answer took
    loops:   a process for each core
    """
    count = max(1, given.requests // given.times)
    began = server.cpu_seconds()
    seconds += answer_all(server, photos, count, given.connections)
    served = (server.cpu_seconds() - began) / count
    batch = max(1, round(server.mean_batch()))
    loop = partial(bare_loop, given.model, photos, count // 2, batch)
    together = [loops.submit(loop) for _ in range(usable_cores())]
    bare = statistics.mean(each.result() for each in together)
    return Turn(served, bare, loops.submit(loop).result())


def print_ratios(name: str, turns: Sequence[tuple[float, float]]) -> None:
    """Print the ratios of (bare, served) processor seconds of a photo, and their medians."""
    bare_ms = 1e3 * statistics.median(bare for bare, _ in turns)
    ratios = [bare / served for bare, served in turns]
    print(
        f"{name}: {bare_ms:.2f} ms; bare / served {statistics.median(ratios):.2f} in turns", end=""
    )
    print(f" of {', '.join(f'{ratio:.2f}' for ratio in ratios)}")


def hostile(server: Server, photo: bytes, count: int) -> tuple[dict[int, int], float]:
    """Send hostile requests; return how many got each status, and the slowest's seconds."""
    statuses: dict[int, int] = {}
    slowest = 0.0
    for request in itertools.islice(hostile_requests(photo), count):
        began = time.perf_counter()
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(request.sent)
            answer = connection.recv(4096)
        slowest = max(slowest, time.perf_counter() - began)
        status = int(answer.split()[1]) if answer else 0
        statuses[status] = statuses.get(status, 0) + 1
    return statuses, slowest


def main() -> None:
    options = parser(__doc__)
    options.add_argument("model", type=Path)
    options.add_argument("photos", type=Path)
    options.add_argument("--requests", type=int, default=10_000)
    options.add_argument("--hostile", type=int, default=1_000)
    options.add_argument("--connections", type=int, default=8)
    given = options.parse_args()
    photos = [path.read_bytes() for path in sorted(given.photos.rglob("*.jpg"))]
    spawn = multiprocessing.get_context("spawn")
    with served(given.model) as server, ProcessPoolExecutor(usable_cores(), spawn) as loops:
        answer_all(server, photos, min(200, given.requests), given.connections)
        seconds: list[float] = []
        turns = [
            serve_and_repeat(server, given, photos, seconds, loops) for _ in range(given.times)
        ]
        print(machine())
        print(f"batches of {server.mean_batch():.1f} photos;", end=" ")
        print(f"{1e3 * statistics.median(turn.served for turn in turns):.2f} ms served")
        print_ratios("a loop on each core", [(turn.bare, turn.served) for turn in turns])
        print_ratios("one loop alone", [(turn.alone, turn.served) for turn in turns])
        seconds.sort()
        print(f"seconds: median {statistics.median(seconds):.3f}, p99", end=" ")
        print(f"{seconds[int(0.99 * len(seconds))]:.3f}, slowest {seconds[-1]:.3f}")
        with ThreadPoolExecutor(1) as pool:
            honest = pool.submit(answer_all, server, photos, given.hostile, 2)
            statuses, slowest = hostile(server, photos[0], given.hostile)
            meanwhile = max(honest.result())
        print(f"hostile requests by status: {dict(sorted(statuses.items()))}, slowest", end=" ")
        print(f"{slowest:.2f} s; honest ones meanwhile: slowest {meanwhile:.2f} s")
        began = server.cpu_seconds()
        time.sleep(IDLE_SECONDS)
        idle = (server.cpu_seconds() - began) / IDLE_SECONDS
        print(f"idle: {idle:.2%} of a core; memory: {server.memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
