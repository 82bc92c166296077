"""Class names as people type them at different places: "Hat", "hat " and "ＨＡＴ" are one product."""

import unicodedata


def normal(name: str) -> str:
    """The form in which spellings of one name are equal: without case, Unicode form and differences of white space."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())
