"""Text from other machines, made safe for a terminal, a log and a page."""

import unicodedata

MAX_CHARACTERS = 500  # characters
# control characters, halves of characters, ends of lines and paragraphs
_UNFIT = {"Cc", "Cs", "Zl", "Zp"}
# they change the direction of text
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def sanitize(text: str, longest: int = MAX_CHARACTERS) -> str:
    """Return the text in one line of at most `longest` characters, with `?` for each that could
    control a terminal.
    """
    cut = text if len(text) <= longest else text[: longest - 3] + "..."
    return "".join(letter if _is_fit(letter) else "?" for letter in cut)


def is_sanitized(text: str, longest: int = MAX_CHARACTERS) -> bool:
    """Return whether `sanitize` would leave the text as it is."""
    return len(text) <= longest and all(map(_is_fit, text))


def _is_fit(letter: str) -> bool:
    return unicodedata.category(letter) not in _UNFIT and letter not in _TURNS
