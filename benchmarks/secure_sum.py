"""Measure a secure sum: CPU time of each step, and bytes beside those of plain updates.

    python -m benchmarks.secure_sum [STORES PARAMETERS [DROPPED]]

Without arguments it measures some sizes. All stores and the server take turns in this process; the
times are of one thread. DROPPED stores send no vector. The sum is compared with that of the same
vectors without masks, to the bit.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fedshelf.client.privacy.secure_sums import PeerSigner, PeerVerifier
from fedshelf.common.privacy.peers import (
    PeerCertificate,
    PeerIdentity,
    new_private_key,
    peer_statement,
    public_half,
    sign,
)
from fedshelf.common.privacy.secure_sum.memory import SumMemory
from fedshelf.common.privacy.secure_sum.messages import SumAddress
from fedshelf.common.privacy.secure_sum.ring import Ring
from fedshelf.common.privacy.secure_sum.server import SumServer, make_roster
from fedshelf.common.privacy.secure_sum.store import SumStore

SIZES = ((3, 62_006, 0), (30, 62_006, 0), (30, 62_006, 3), (100, 62_006, 0), (10, 11_173_962, 0))
CHAIN = "benchmark"
ADDRESS = SumAddress(CHAIN, "run", "train", 1)
ORDER = "ab" * 32
LEAST = 3
PER_STORE = ("keys", "share", "quantise", "mask", "reveal")


def main() -> None:
    """Measure the sizes of the command line, or the usual ones."""
    given = [int(argument) for argument in sys.argv[1:]]
    sizes = [(given[0], given[1], given[2] if len(given) > 2 else 0)] if given else SIZES
    print("stores  parameters  dropped  " + "".join(f"{step:>10}" for step in PER_STORE), end="")
    print("    server   bytes up      plain   times")
    print(" " * 29 + f"{'ms a store':>50}" + "         s   a store")
    for stores, parameters, dropped in sizes:
        print(measure(stores, parameters, dropped), flush=True)


def measure(stores: int, parameters: int, dropped: int) -> str:
    """Play one round, and return its line of the table."""
    clock = Clock()
    names = [f"store-{number:03d}" for number in range(stores)]
    machines = make_stores(names)
    ring = Ring(stores)
    with clock("keys", stores):
        adverts = {name: store.advertise(ADDRESS) for name, store in machines.items()}
    roster = make_roster(ORDER, adverts, LEAST)
    server = SumServer(ADDRESS, roster, np.zeros(parameters, ring.dtype))
    bytes_up = len(adverts[names[0]].to_bytes())
    with clock("share", stores):
        boxes = {name: store.share(ADDRESS, ORDER, roster) for name, store in machines.items()}
    bytes_up += len(boxes[names[0]])
    for name, data in boxes.items():
        server.take_boxes(name, data)
    plain = np.zeros(parameters, ring.dtype)
    change = np.random.default_rng(0).normal(0, 0.01, parameters).astype(np.float32)
    for number, name in enumerate(names[: stores - dropped]):
        with clock("quantise", stores - dropped):
            vector = ring.encode(change, 1 / (1 + number))
        plain += vector
        inbox = server.inbox(name)
        with clock("mask", stores - dropped):
            masked = machines[name].mask(ADDRESS, inbox, vector)
        with clock("server", 1):
            server.take_masked(name, masked)
    bytes_up += masked.nbytes
    for name in server.survivors:
        with clock("reveal", stores - dropped):
            reveal = machines[name].unmask(ADDRESS, server.survivors).to_bytes()
        server.take_reveal(name, reveal)
    bytes_up += len(reveal) - len(adverts[names[0]].to_bytes())  # the next round's come with it
    with clock("server", 1):
        total = server.total()
    assert (total == plain).all(), "the sum is not that of the vectors"
    steps = "".join(f"{1e3 * clock.seconds[step]:10.1f}" for step in PER_STORE)
    floats = 4 * parameters
    return (
        f"{stores:6}{parameters:12,}{dropped:9}  {steps}{clock.seconds['server']:10.3f}"
        f"{bytes_up:11,}{floats:11,}{bytes_up / floats:8.4f}"
    )


def make_stores(names: list[str]) -> dict[str, SumStore]:
    """Return stores of one office, which keep their memory here."""
    office = new_private_key()
    found = {}
    for name in names:
        private = new_private_key()
        public = public_half(private)
        signature = sign(office, peer_statement(CHAIN, name, public))
        certificate = PeerCertificate(chain=CHAIN, store=name, key=public, signature=signature)
        peer = PeerIdentity(
            office=public_half(office), private_key=private, certificate=certificate
        )
        found[name] = SumStore(
            PeerSigner(peer),
            PeerVerifier(CHAIN, peer.office, frozenset()),
            LEAST,
            SumMemory(CHAIN, "run", "train"),
            lambda _: None,
        )
    return found


class Clock:
    """CPU seconds of this process by step, a mean over the stores."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, step: str, stores: int) -> Iterator[None]:
        """Add the time spent inside, divided by `stores`, to a step."""
        began = time.process_time()
        yield
        spent = (time.process_time() - began) / stores
        self.seconds[step] = self.seconds.get(step, 0.0) + spent


if __name__ == "__main__":
    main()
