"""The chain's office: its key certifies the stores to each other. It belongs off the server.

DIR/office/office.key    the private key (Ed25519), in hexadecimal
DIR/office/office.json   the chain, all certified peer keys, and the latest list of revoked ones
"""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from fedshelf.common.errors import ConfigError
from fedshelf.common.privacy.peers import (
    PeerCertificate,
    PeerIdentity,
    RevocationList,
    new_private_key,
    peer_statement,
    public_half,
    revocation_statement,
    sign,
)
from fedshelf.common.system.files import check_private, sync_directory, write_private

_KEY_FILE = "office.key"
_RECORDS_FILE = "office.json"


class OfficeRecords(BaseModel):
    """The content of `office.json`.

    Attributes:
        chain:        identifier of the chain
        certificates: of all peer keys that the office has certified, the oldest first
        revoked:      the latest list of revoked peer keys; None before the first one
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: str
    certificates: tuple[PeerCertificate, ...] = ()
    revoked: RevocationList | None = None


class Office:
    """An office with its key.

    Args:
        directory: where it lies (`DIR/office`)
        key:       its private key
    """

    def __init__(self, directory: Path, key: str) -> None:
        self.directory = directory
        self._key = key
        self._lock = FileLock(directory / "office.lock", mode=0o600)

    @classmethod
    def make(cls, directory: Path, chain: str) -> "Office":
        """Make a new office in a directory, which appears whole or not at all.

        Args:
            directory: the new directory
            chain:     identifier of the chain

        Raises:
            ConfigError: the directory is there already.
            OSError: it cannot be written.
        """
        if directory.exists():
            raise ConfigError(
                f"{directory} is there already; an office key is never overwritten. Move it away if"
                " it belongs to another chain."
            )
        directory.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=".office."))  # mode 0700
        try:
            write_private(unfinished / _KEY_FILE, new_private_key() + "\n")
            records = OfficeRecords(chain=chain)
            write_private(unfinished / _RECORDS_FILE, records.model_dump_json(indent=2) + "\n")
            unfinished.rename(directory)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        sync_directory(directory.parent)
        return cls.load(directory, chain)

    @classmethod
    def load(cls, directory: Path, chain: str) -> "Office":
        """Load the office of a chain.

        Raises:
            ConfigError: it is missing, damaged or another chain's, or other users can read it.
        """
        if not (directory / _KEY_FILE).is_file():
            raise ConfigError(
                f"The chain's office key is not in {directory}; expected the folder DIR/office that"
                " `flower-server provision --out DIR` made. Give the folder to which it was moved"
                " with --office."
            )
        for path in (directory, directory / _KEY_FILE, directory / _RECORDS_FILE):
            if path.exists():
                check_private(path)
        try:
            key = (directory / _KEY_FILE).read_text(encoding="utf-8").strip()
            public_half(key)
            office = cls(directory, key)
            belongs_to = office._records().chain
        except (ValueError, FileNotFoundError) as error:
            raise ConfigError(
                f"The office in {directory} is damaged ({type(error).__name__}); restore it."
            ) from None
        if belongs_to != chain:
            raise ConfigError(
                f"The office in {directory} is of the chain {belongs_to}, expected {chain}; give"
                " the folder of this chain's office with --office."
            )
        return office

    @property
    def public_key(self) -> str:
        """The public half of its key, by which stores recognise its certificates."""
        return public_half(self._key)

    def certify(self, store: str) -> PeerIdentity:
        """Make and certify a new peer key for a store.

        Raises:
            OSError: the office's records cannot be written.
        """
        private_key = new_private_key()
        key = public_half(private_key)
        with self._lock:
            records = self._records()
            certificate = PeerCertificate(
                chain=records.chain,
                store=store,
                key=key,
                signature=sign(self._key, peer_statement(records.chain, store, key)),
            )
            certificates = (*records.certificates, certificate)
            self._write(records.model_copy(update={"certificates": certificates}))
        return PeerIdentity(
            office=self.public_key, private_key=private_key, certificate=certificate
        )

    def revoke(self, stores: Sequence[str]) -> RevocationList:
        """Revoke all peer keys that these stores have had so far.

        Returns:
            The new list of all revoked keys.

        Raises:
            OSError: the office's records cannot be written.
        """
        with self._lock:
            records = self._records()
            before = records.revoked
            revoked = {
                certificate.key
                for certificate in records.certificates
                if certificate.store in stores
            }
            keys = tuple(sorted(revoked.union(before.keys if before else ())))
            number = before.number + 1 if before else 1
            signature = sign(self._key, revocation_statement(records.chain, number, keys))
            revocations = RevocationList(
                chain=records.chain, number=number, keys=keys, signature=signature
            )
            self._write(records.model_copy(update={"revoked": revocations}))
        return revocations

    def _records(self) -> OfficeRecords:
        try:
            return OfficeRecords.model_validate_json((self.directory / _RECORDS_FILE).read_bytes())
        except ValidationError as error:
            raise ConfigError(
                f"{self.directory / _RECORDS_FILE} is damaged ({error.error_count()} errors);"
                " restore it."
            ) from None

    def _write(self, records: OfficeRecords) -> None:
        write_private(self.directory / _RECORDS_FILE, records.model_dump_json(indent=2) + "\n")
