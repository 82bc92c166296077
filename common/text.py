"""Text from other machines, made safe for a terminal, a log and a page."""

import unicodedata

MAX_CHARACTERS = 500
# control characters, halves of characters, ends of lines and paragraphs
_UNSAFE_CATEGORIES = {"Cc", "Cs", "Zl", "Zp"}
# they change the direction of text
_DIRECTION_MARKS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: object) -> str:
    """Return the text with U+FFFD for each character that could control a terminal.

    Names come from disks and from other machines.
    """
    return "".join(
        character if _is_safe(character) else "\N{REPLACEMENT CHARACTER}" for character in str(text)
    )


def sanitize(text: str, longest: int = MAX_CHARACTERS) -> str:
    """Return the text in one printable line.

    Args:
        text: from another machine
        longest: characters; a longer text is cut and ends with "..."
    """
    return printable(text if len(text) <= longest else text[: longest - 3] + "...")


def is_sanitized(text: str, longest: int = MAX_CHARACTERS) -> bool:
    """Return whether `sanitize` would leave the text as it is."""
    return len(text) <= longest and all(map(_is_safe, text))


def _is_safe(character: str) -> bool:
    return (
        unicodedata.category(character) not in _UNSAFE_CATEGORIES
        and character not in _DIRECTION_MARKS
    )
