"""Stores that speak the protocol but do not train, many in one process.

    python -m benchmarks.crowd SERVER COUNT

Each sends the model back with a little noise, so that updates differ. The process runs until it is
ended from outside.
"""

import sys
import threading
from dataclasses import dataclass

import httpx
import torch

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.errors import RunOverError, UnknownStoreError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.framing import MessageHeader
from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.config import RunConfig
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.protocol.probe import PROBE_MESSAGE_TYPE, make_presence

CLASSES = 10
IMAGES = 100
# Few stores hold a model in memory at the same time: else this process needs more than the server.
AT_ONCE = threading.Semaphore(3)
POLL_SECONDS = 0.5  # between two polls for messages
SERVER_WAIT_SECONDS = 300.0


@dataclass(frozen=True)
class Idler:
    """A store's worker that does not work.

    Attributes:
        name: the name of the store
        number: seed of its noise
    """

    name: str
    number: int

    def info(self, config: RunConfig) -> StoreInfo:
        """Return the classes of a store with IMAGES images of each."""
        return StoreInfo(self.name, {f"class-{label}": IMAGES for label in range(CLASSES)}, 0, 0)

    def train(self, order: TrainOrder) -> Update:
        """Return the order's parameters with noise."""
        noise = torch.randn(len(order.params), generator=torch.Generator().manual_seed(self.number))
        noisy_params = noise.mul_(1e-3).add_(order.params)
        return Update(self.name, order.round, noisy_params, CLASSES * IMAGES, 1.0, 0.0)

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        """Return counts of zero."""
        return Evaluation(self.name, order.round, Counts.zero(CLASSES))


class Silent:
    """Ignores all events of the connection."""

    def on_joined(self) -> None: ...

    def on_lost(self, reason: str) -> None: ...

    def on_restored(self) -> None: ...


def serve(server: str, worker: Idler) -> None:
    """Answer all messages until the server forgets this store."""
    frozen = FrozenCache()
    pause = threading.Event()
    with FleetConnection(Credentials(server), Silent(), SERVER_WAIT_SECONDS + 1e9) as line:
        while True:
            try:
                for head in line.receive():
                    respond(line, head, worker, frozen)
            except (RunOverError, httpx.HTTPStatusError):
                continue
            except UnknownStoreError:
                return
            pause.wait(POLL_SECONDS)


def respond(line: FleetConnection, head: MessageHeader, worker: Idler, frozen: FrozenCache) -> None:
    """Answer one message."""
    with AT_ONCE:
        message, _ = line.fetch(head)
        content = (
            make_presence(has=False)
            if head.type == PROBE_MESSAGE_TYPE
            else handle_order(worker, message.content, frozen)
        )
        line.send(line.build_reply(message, content, 0.0))


def main() -> None:
    """Connect the stores."""
    server = sys.argv[1]
    count = int(sys.argv[2])
    torch.set_num_threads(1)
    workers = [Idler(f"store-{number:02}", number) for number in range(count)]
    threads = [threading.Thread(target=serve, args=(server, worker)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
