"""The store's identity towards other stores, and the peer keys that its office has revoked."""

from pathlib import Path

from pydantic import ValidationError

from fedshelf.client.identity.home import PEER_FILE, REVOKED_PEERS_FILE
from fedshelf.common.errors import ConfigError
from fedshelf.common.privacy.peers import PeerIdentity, RevocationList
from fedshelf.common.system.files import check_private, write_private, write_text


def save_peer(home: Path, peer: PeerIdentity) -> None:
    """Keep the identity of a new kit; it replaces the one before.

    Raises:
        ConfigError: the one before is damaged, or others can read it.
        OSError: the home cannot be written.
    """
    before = load_peer(home)
    if before is not None and before.office != peer.office:  # a new office begins its lists anew
        (home / REVOKED_PEERS_FILE).unlink(missing_ok=True)
    write_private(home / PEER_FILE, peer.model_dump_json(indent=2) + "\n")


def load_peer(home: Path) -> PeerIdentity | None:
    """Return the store's identity towards other stores; None if no kit of it had one.

    Raises:
        ConfigError: its file is damaged, or others can read it.
    """
    path = home / PEER_FILE
    if not path.exists():
        return None
    check_private(path)
    try:
        return PeerIdentity.model_validate_json(path.read_bytes())
    except (ValidationError, ConfigError):
        raise ConfigError(
            f"{path} is damaged; ask for a new kit that is made with the office key, and join with"
            " it."
        ) from None


class RevokedPeers:
    """The peer keys that the chain's office has revoked, as far as this store has heard.

    A list is kept on disk and only a list with a greater number replaces it, so that a server
    cannot make a revoked key valid again by sending an older list.

    Args:
        home: The store's home.
        peer: The store's own identity, which names the chain and the office.

    Raises:
        ConfigError: The file with the list is damaged.
    """

    def __init__(self, home: Path, peer: PeerIdentity) -> None:
        self._file = home / REVOKED_PEERS_FILE
        self._peer = peer
        self._list = self._read_file()

    @property
    def keys(self) -> frozenset[str]:
        """The revoked public peer keys."""
        return frozenset(self._list.keys if self._list else ())

    @property
    def number(self) -> int:
        """The number of the latest list; 0 before the first."""
        return self._list.number if self._list else 0

    def keep(self, received: RevocationList) -> None:
        """Keep a list that the server passed on, if it is newer than the latest.

        Raises:
            ValueError: The chain's office has not signed it.
            OSError: The home cannot be written.
        """
        if not self._is_ours(received):
            raise ValueError("the list of revoked stores is not signed by this chain's office")
        if received.number > self.number:
            write_text(self._file, received.model_dump_json() + "\n")
            self._list = received

    def _is_ours(self, revoked: RevocationList) -> bool:
        return revoked.chain == self._peer.certificate.chain and revoked.is_signed_by(
            self._peer.office
        )

    def _read_file(self) -> RevocationList | None:
        if not self._file.exists():
            return None
        try:
            revoked = RevocationList.model_validate_json(self._file.read_bytes())
        except ValidationError:
            revoked = None
        if revoked is None or not self._is_ours(revoked):
            raise ConfigError(
                f"{self._file} is damaged; restore it: without it, this store would take part in"
                " secure sums with stores that are revoked."
            )
        return revoked
