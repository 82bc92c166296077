"""A chain of stores that sum vectors: real keys, and memories that survive a store's end."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.privacy.secure_sum.memory import SumMemory
from fedshelf.common.privacy.secure_sum.messages import Advert, Roster, SumAddress
from fedshelf.common.privacy.secure_sum.server import SumServer, make_roster
from fedshelf.common.privacy.secure_sum.store import SumStore

ORDER = "ab" * 32
ADDRESS = SumAddress("chain", "run", "train", 1)
NEVER = 9  # a step that no store reaches


@dataclass
class Signer:
    """A store's own key; the certificate is the public key and the office's signature of it."""

    store: str
    certificate: bytes
    key: Ed25519PrivateKey

    def sign(self, statement: bytes) -> bytes:
        return self.key.sign(statement)


class Office:
    """Certifies stores, and recognises those that it has certified."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    def signer(self, store: str) -> Signer:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes_raw()
        return Signer(store, public + self._key.sign(store.encode() + public), key)

    def verify(self, store: str, certificate: bytes, statement: bytes, signature: bytes) -> bool:
        public, word = certificate[:32], certificate[32:]
        try:
            self._key.public_key().verify(word, store.encode() + public)
            Ed25519PublicKey.from_public_bytes(public).verify(signature, statement)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass
class Machine:
    """A store and its disk."""

    signer: Signer
    office: Office
    least: int
    disk: bytes = SumMemory("chain", "run", "train").to_bytes()

    def store(self) -> SumStore:
        """Return the store as after a start of its machine: it knows what is on disk alone."""
        return SumStore(
            self.signer, self.office.verify, self.least, SumMemory.from_bytes(self.disk), self.keep
        )

    def keep(self, memory: bytes) -> None:
        self.disk = memory


@dataclass
class SumChain:
    """`count` stores of one office, each of which wants to be hidden among `least`."""

    count: int
    least: int = 3
    office: Office = field(default_factory=Office)

    def __post_init__(self) -> None:
        names = [f"store-{number:03d}" for number in range(self.count)]
        self.machines = {
            name: Machine(self.office.signer(name), self.office, self.least) for name in names
        }
        self.names = tuple(names)

    def store(self, name: str) -> SumStore:
        return self.machines[name].store()

    def roster(self, address: SumAddress = ADDRESS, stores: Sequence[str] = ()) -> Roster:
        """Return the roster of the stores (all, if none are given) that the server would make."""
        adverts = {name: self.store(name).advertise(address) for name in stores or self.names}
        return make_roster(ORDER, adverts, self.least)

    def shared(self, vectors: Mapping[str, RingVector], address: SumAddress = ADDRESS) -> SumServer:
        """Return a server to which all stores have sent their sealed shares."""
        roster = self.roster(address)
        zeros = np.zeros_like(next(iter(vectors.values())))
        server = SumServer(address, roster, zeros)
        for name in self.names:
            server.take_boxes(name, self.store(name).share(address, ORDER, roster))
        return server

    def masked(self, vectors: Mapping[str, RingVector], address: SumAddress = ADDRESS) -> SumServer:
        """Return a server to which all stores have sent their masked vectors."""
        server = self.shared(vectors, address)
        for name in self.names:
            masked = self.store(name).mask(address, server.inbox(name), vectors[name])
            server.take_masked(name, masked)
        return server

    def vectors(
        self, size: int, dtype: type[np.unsignedinteger] = np.uint32
    ) -> dict[str, RingVector]:
        """Return random ring elements [size] for each store."""
        draws = np.random.default_rng(self.count)
        high = np.iinfo(dtype).max
        return {
            name: draws.integers(0, high, size, dtype=dtype, endpoint=True) for name in self.names
        }


def play(
    chain: SumChain,
    vectors: Mapping[str, RingVector],
    gone: Mapping[str, int],
    address: SumAddress = ADDRESS,
    pass_on: Callable[[bytes], bytes] = bytes,
) -> tuple[RingVector, tuple[str, ...]]:
    """Play one attempt, and return the sum and the stores in it.

    gone: by store, the step that it does not reach: 0 advertise, 1 share, 2 mask, 3 unmask
    pass_on: what becomes of each message of a store on its way
    """

    def alive(step: int, stores: Sequence[str]) -> list[str]:
        return [name for name in stores if gone.get(name, NEVER) > step]

    adverts = {
        name: Advert.from_bytes(pass_on(chain.store(name).advertise(address).to_bytes()))
        for name in alive(0, chain.names)
    }
    roster = Roster.from_bytes(make_roster(ORDER, adverts, chain.least).to_bytes())
    zeros = np.zeros_like(next(iter(vectors.values())))
    server = SumServer(address, roster, zeros)
    for name in alive(1, roster.stores):
        server.take_boxes(name, pass_on(chain.store(name).share(address, ORDER, roster)))
    for name in alive(2, sorted(server.sharers)):
        masked = chain.store(name).mask(address, server.inbox(name), vectors[name])
        server.take_masked(name, np.frombuffer(pass_on(masked.tobytes()), masked.dtype))
    server.check_survivors()
    for name in alive(3, server.survivors):
        reveal = chain.store(name).unmask(address, server.survivors)
        server.take_reveal(name, pass_on(reveal.to_bytes()))
    return server.total(), server.survivors
