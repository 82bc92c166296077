"""The chain's signed list of its server's addresses.

A store gets it from the gateway, so it knows a new address before the server moves there. The
signature is the authority's: nobody else can send stores elsewhere.
"""

import base64
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.common.protocol.kit import chain_id
from fedshelf.common.statements import statement

# in the gateway's answers to enrolled stores, once the chain has moved
ADDRESSES_HEADER = "fedshelf-addresses"
MAX_ADDRESSES = 8


def _check_address(address: str) -> str:
    """Return the address as `Endpoint` writes it. Raises ValueError."""
    try:
        return str(Endpoint.parse(address))
    except ConfigError as error:
        raise ValueError(str(error)) from None


class AddressList(BaseModel):
    """The addresses of a chain's server, the preferred one first, signed by the chain's authority.

    number:    counts the chain's moves; a list replaces those of smaller numbers
    signature: ECDSA with SHA-384 over `statement`, base64
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chain: Annotated[str, Field(max_length=64)]
    number: Annotated[int, Field(ge=1)]
    addresses: Annotated[
        tuple[Annotated[str, AfterValidator(_check_address)], ...],
        Field(min_length=1, max_length=MAX_ADDRESSES),
    ]
    signature: Annotated[str, Field(max_length=400)] = ""

    @property
    def statement(self) -> bytes:
        """The bytes that the authority signs."""
        return statement(b"fedshelf-addresses-1", self.chain, str(self.number), *self.addresses)

    @property
    def header(self) -> str:
        """The list as the value of ADDRESSES_HEADER."""
        return base64.b64encode(self.model_dump_json().encode()).decode()

    @classmethod
    def read(cls, header: str, authority: str) -> "AddressList":
        """Return the list in a header.

        Args:
            header: the value of ADDRESSES_HEADER
            authority: the certificate of the chain's authority, PEM

        Raises:
            ValueError: the header has no list, or the authority has not signed it for its chain
        """
        from cryptography import x509
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        address_list = cls.model_validate_json(base64.b64decode(header, validate=True))
        key = x509.load_pem_x509_certificate(authority.encode()).public_key()
        if address_list.chain != chain_id(authority) or not isinstance(
            key, ec.EllipticCurvePublicKey
        ):
            raise ValueError("a list of another chain")
        try:
            key.verify(
                base64.b64decode(address_list.signature, validate=True),
                address_list.statement,
                ec.ECDSA(hashes.SHA384()),
            )
        except InvalidSignature:
            raise ValueError("a list that the chain's authority did not sign") from None
        return address_list
