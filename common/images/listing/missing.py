"""The texts by which tables mark a missing value."""

# Texts that pandas writes or reads as missing, without "None" and "NA", which may well be names.
_MISSING = {"", "nan", "<na>", "n/a", "#n/a", "null"}


def is_missing(text: str) -> bool:
    """Return whether the text of a table's cell, such as `NaN`, stands for no value.

    Blanks around it do not matter.
    """
    return text.strip().casefold() in _MISSING
