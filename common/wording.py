"""Numbers, lists and durations in sentences."""

from collections.abc import Sequence


def format_count(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun: (1, "photo") -> "1 photo"; (1500, "photo") -> "1,500 photos".

    Args:
        count: of things
        one: the noun's singular
        many: its plural, if it is not formed with an s
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def format_list(items: Sequence[object]) -> str:
    """Return a list in words: ["a", "b", "c"] -> "a, b and c"."""
    texts = list(map(str, items))
    return " and ".join([", ".join(texts[:-1]), texts[-1]] if len(texts) > 1 else texts)


def format_first(items: Sequence[object], max_items: int) -> str:
    """Return the first items in words: ["a", "b", "c", "d"] -> "a, b and 2 more" with at most 2."""
    more = f" and {len(items) - max_items:,} more" if len(items) > max_items else ""
    return ", ".join(map(str, items[:max_items])) + more


def format_duration(seconds: float) -> str:
    """Return a time in words: 23.4 -> "23 s", 192 -> "3 min 12 s", 7500 -> "2 h 5 min".

    Two days and more are in days.
    """
    minutes, whole_seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} days"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole_seconds} s" if minutes else f"{whole_seconds} s"
