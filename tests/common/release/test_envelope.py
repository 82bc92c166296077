"""The envelope is DSSE's, and only the signer can make one."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedshelf.common.errors import DataError
from fedshelf.common.release.envelope import ListedFile, open_envelope, sign
from fedshelf.common.release.keys import public_text

FILES = {"a": ListedFile("0" * 64, 1), "b": ListedFile("f" * 64, 2)}


def test_any_reader_of_dsse_can_check_it() -> None:
    key = Ed25519PrivateKey.generate()
    envelope = json.loads(sign(FILES, key))
    payload = base64.b64decode(envelope["payload"])
    kind = envelope["payloadType"].encode()
    # the protocol's own words: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body
    signed = b" ".join(
        [b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload]
    )
    key.public_key().verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)
    assert json.loads(payload)["files"]["b"] == {"sha256": "f" * 64, "size": 2}


def test_it_opens_with_the_pinned_key_alone() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    content = sign(FILES, key)
    assert open_envelope(content, [public_text(other), public_text(key)], "It") == FILES
    for trusted in ([], [public_text(other)]):
        with pytest.raises(DataError, match="which this machine does not trust"):
            open_envelope(content, trusted, "It")


def test_another_list_under_the_same_name_is_refused() -> None:
    key, other = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    ours, theirs = json.loads(sign(FILES, key)), json.loads(sign({}, other))
    forged = {**theirs, "signatures": [{**theirs["signatures"][0]}]}
    forged["signatures"][0]["keyid"] = ours["signatures"][0]["keyid"]
    content = json.dumps(forged, sort_keys=True, indent=1).encode() + b"\n"
    with pytest.raises(DataError, match="is not as it was signed"):
        open_envelope(content, [public_text(key)], "It")


@pytest.mark.parametrize(
    "change", [b"", b"{}", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"payload": 1}']
)
def test_what_is_no_envelope_is_refused(change: bytes) -> None:
    with pytest.raises(DataError, match="is not as it was signed"):
        open_envelope(change, [], "It")


def test_only_one_way_to_write_it_is_accepted() -> None:
    key = Ed25519PrivateKey.generate()
    content = sign(FILES, key)
    for changed in (content[:-1], content + b"\n", content.replace(b"\n", b" "), content * 2):
        with pytest.raises(DataError, match="is not as it was signed"):
            open_envelope(changed, [public_text(key)], "It")
