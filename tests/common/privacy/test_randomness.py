"""Keys and streams of random numbers."""

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from fedshelf.common.privacy.randomness import (
    KeyStream,
    derived_seed,
    simulated_secret,
    training_key,
)

KEY = bytes(range(32))


def test_every_input_changes_the_key() -> None:
    secrets = [simulated_secret(1, "oslo"), simulated_secret(2, "oslo"), simulated_secret(1, "rom")]
    keys = {training_key(secret, digest) for secret in secrets for digest in ("ab", "cd")}
    assert len(keys) == 6
    assert {len(key) for key in keys} == {32}
    assert training_key(secrets[0], "ab") in keys


def test_a_purpose_has_a_stream_of_its_own() -> None:
    draws = {purpose: KeyStream(KEY, purpose).words(4).tolist() for purpose in ("a", "b")}
    assert not set(draws["a"]) & set(draws["b"])
    assert derived_seed(KEY) != derived_seed(bytes(32))
    assert 0 <= derived_seed(KEY) < 2**63


def test_a_stream_goes_on_where_it_was() -> None:
    whole = KeyStream(KEY, "noise").words(7)
    stream = KeyStream(KEY, "noise")
    assert np.array_equal(np.concatenate([stream.words(3), stream.words(4)]), whole)


def test_the_words_are_those_of_aes_in_counter_mode() -> None:
    """Two words are one block, which a counter of 1 follows the one of 0."""
    cipher_key = training_key_of_stream()
    encryptor = Cipher(algorithms.AES256(cipher_key), modes.ECB()).encryptor()
    blocks = encryptor.update(bytes(16) + (1).to_bytes(16, "big"))
    assert KeyStream(KEY, "noise").words(4).tobytes() == blocks


def training_key_of_stream() -> bytes:
    """HKDF by RFC 5869, by hand: extract with a salt of zeros, then one block."""
    import hmac

    pseudo_random = hmac.digest(bytes(32), KEY, "sha256")
    return hmac.digest(pseudo_random, b"fedshelf differential privacy: noise\x01", "sha256")


def test_uniform_numbers_are_uniform() -> None:
    numbers = KeyStream(KEY, "sampling").uniform(100_000)
    assert 0 <= numbers.min() < numbers.max() < 1
    counts = np.histogram(numbers, bins=10, range=(0, 1))[0]
    # chi-squared with 9 degrees of freedom: 27.9 is exceeded by 1 in 1,000 keys, and this is one
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 27.9
