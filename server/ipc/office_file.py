"""The chain's facts on its office, which the app needs for secure sums and has no other way to.

DIR/server/office.pub, revoked-peers.json --> registrar -- office.json --> app
"""

from dataclasses import dataclass
from pathlib import Path

from fedshelf.common.privacy.peers import RevocationList
from fedshelf.common.system.files import write_json
from fedshelf.server.results.jsonl_tail import read_json

OFFICE_FILE = "office.json"


@dataclass(frozen=True)
class OfficeFacts:
    """A chain and its office.

    Attributes:
        chain:   identifier of the chain
        key:     public key of its office
        revoked: the office's list of revoked stores as JSON; empty if there is none
    """

    chain: str
    key: str
    revoked: bytes = b""

    @property
    def revoked_keys(self) -> frozenset[str]:
        """The peer keys that are not valid any more."""
        return frozenset(
            RevocationList.model_validate_json(self.revoked).keys if self.revoked else ()
        )

    def write(self, directory: Path) -> None:
        """Write the facts for the app. Raises OSError."""
        facts = {"chain": self.chain, "key": self.key, "revoked": self.revoked.decode()}
        write_json(directory / OFFICE_FILE, facts)

    @classmethod
    def read(cls, directory: Path) -> "OfficeFacts | None":
        """Return the facts that the registrar wrote; None if it wrote none."""
        facts = read_json(directory / OFFICE_FILE)
        if not facts:
            return None
        return cls(facts["chain"], facts["key"], facts["revoked"].encode())
