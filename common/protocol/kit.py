"""A kit: the one file that a store needs to join its chain's server.

The chain makes it and hands it over, by mail or on a stick. With the code in it the store enrols a
key that it makes itself, so the code is worthless afterwards; see `common.protocol.enrolment`. The
peer key in it stays the store's identity towards other stores; see `common.privacy.peers`.
"""

import hashlib
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.privacy.peers import PeerIdentity
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.common.system.files import check_private, write_private

MAX_KIT_BYTES = 64 * 1024  # a kit has about three thousand bytes


def _check_address(address: str) -> str:
    return str(Endpoint.parse(address, "its server's address"))


class Kit(BaseModel):
    """The chain's credentials and addresses for one store.

    chain: `chain_id` of the authority
    server: HOST:PORT
    others: more such addresses of the same server, tried in this order if `server` cannot be
        reached
    authority: PEM of the certificate that vouches for the server
    code, until: a code that enrols the store's own key, once, and the time up to which it is valid
    private_key: PEM of the store's key, instead of a code
    peer: the store's identity towards other stores, if the chain's office certified one
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["fedshelf-kit-1"] = "fedshelf-kit-1"
    chain: str
    server: Annotated[str, AfterValidator(_check_address)]
    others: tuple[Annotated[str, AfterValidator(_check_address)], ...] | None = None
    authority: str
    store: Annotated[str, AfterValidator(check_store_name)]
    code: Annotated[str, Field(min_length=20, max_length=200)] | None = None
    until: datetime | None = None
    private_key: str | None = None
    peer: PeerIdentity | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.code is None) == (self.private_key is None):
            raise ValueError("expected either a code or a private key")
        if self.chain != chain_id(self.authority):
            raise ValueError("its authority is not that of its chain")
        if self.peer is not None and (self.peer.certificate.chain, self.peer.certificate.store) != (
            self.chain,
            self.store,
        ):
            raise ValueError("its peer certificate is of another store")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        """All addresses of the server, the preferred one first."""
        return (self.server, *(self.others or ()))

    @property
    def invitation(self) -> str:
        """An identifier of this kit: other kits of the store have others. It reveals no secret."""
        secret = self.code or self.private_key
        return hashlib.sha256(f"invitation {secret}".encode()).hexdigest()[:32]

    def write(self, path: Path) -> None:
        """Write the kit to `path`, readable by this user only.

        Raises:
            OSError: the disk is full, or the folder cannot be written
        """
        write_private(path, self.model_dump_json(indent=2, exclude_none=True) + "\n")

    @classmethod
    def read(cls, path: Path) -> "Kit":
        """Return the kit in `path`.

        Raises:
            ConfigError: it is no kit, is damaged, or could be read by others
        """
        if not path.is_file():
            raise ConfigError(
                f"There is no kit {path}; expected the file NAME.kit that the chain made for this"
                " store."
            )
        check_private(path)
        try:
            if (size := path.stat().st_size) > MAX_KIT_BYTES:
                raise ConfigError(f"it has {size:,} bytes, which is too large")
            return cls.model_validate_json(path.read_bytes())
        except ConfigError as error:
            reason = str(error).removesuffix(".")
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
        raise ConfigError(f"{path} is not a whole kit ({reason}); ask for it again.")


def chain_id(authority: str) -> str:
    """Return a chain's identifier: 16 hexadecimal digits of a hash of its authority.

    Args:
        authority: the certificate of the chain's authority, PEM
    """
    return hashlib.sha256(authority.encode()).hexdigest()[:16]
