"""A store is known to other stores by what the office has signed, and by nothing else."""

import pytest
from pydantic import ValidationError

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

OFFICE = new_private_key()
STORE = new_private_key()


def certificate(office: str = OFFICE, store: str = "oslo-7") -> PeerCertificate:
    key = public_half(STORE)
    signature = sign(office, peer_statement("chain", store, key))
    return PeerCertificate(chain="chain", store=store, key=key, signature=signature)


def test_an_office_recognises_its_own_certificate_only() -> None:
    assert certificate().is_signed_by(public_half(OFFICE))
    assert not certificate(office=STORE).is_signed_by(public_half(OFFICE))
    # a point that is no public key, and one that everybody knows
    assert not certificate().is_signed_by("ff" * 32)
    assert not certificate().is_signed_by("00" * 32)


@pytest.mark.parametrize(
    "change",
    [
        {"chain": "other"},
        {"store": "lyon-2"},
        {"key": public_half(OFFICE)},
        {"signature": "00" * 64},
    ],
)
def test_a_changed_certificate_is_not_the_offices(change: dict[str, str]) -> None:
    assert not certificate().model_copy(update=change).is_signed_by(public_half(OFFICE))


def test_an_identity_is_whole_or_refused() -> None:
    right = {"office": public_half(OFFICE), "private_key": STORE, "certificate": certificate()}
    peer = PeerIdentity.model_validate(right)
    assert PeerIdentity.model_validate_json(peer.model_dump_json()) == peer
    for part, message in (
        ({"private_key": OFFICE}, "not the one that its certificate names"),
        ({"office": public_half(STORE)}, "not signed by its office"),
        ({"private_key": "short"}, "private_key"),
    ):
        with pytest.raises(ValidationError, match=message):
            PeerIdentity.model_validate({**right, **part})


def test_a_list_of_revoked_keys_is_signed_as_a_whole() -> None:
    keys = tuple(sorted([public_half(STORE), public_half(OFFICE)]))
    revoked = RevocationList(
        chain="chain",
        number=3,
        keys=keys,
        signature=sign(OFFICE, revocation_statement("chain", 3, keys)),
    )
    office = public_half(OFFICE)
    assert revoked.is_signed_by(office)
    for change in ({"number": 4}, {"keys": keys[:1]}, {"chain": "other"}):
        assert not revoked.model_copy(update=change).is_signed_by(office)
