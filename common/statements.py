"""The bytes that a signature covers: a purpose, and texts that are told apart without doubt."""

import base64


def statement(purpose: bytes, *parts: str) -> bytes:
    """Return a purpose and texts as bytes to sign; no two lists of texts give the same bytes."""
    # in base64 no text can hold the line break between two
    return purpose + b"\n" + b"\n".join(base64.b64encode(part.encode()) for part in parts)
