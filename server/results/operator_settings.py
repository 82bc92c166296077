"""The operator's settings over the life of a run.

The history has their values and the rounds of their changes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fedshelf.common.config import RunConfig
from fedshelf.common.config.changeable_settings import of_operator

SETTINGS = "settings"  # in a run's first line: all of the operator's settings
# in the first line after a change: key -> [before, from this round on]
SETTINGS_CHANGED = "settings_changed"


def remark(history: Iterable[Mapping[str, Any]], config: RunConfig) -> dict[str, Any]:
    """Return the next history line's part on the operator's settings; {} if none has changed.

    A history of an earlier version, which has no settings, gets all of them.
    """
    before = _in_force(history)
    now = of_operator(config)
    if not before:
        return {SETTINGS: now}
    changed = {
        key: [before.get(key), value] for key, value in now.items() if before.get(key) != value
    }
    return {SETTINGS_CHANGED: changed} if changed else {}


def format_changes(remark: Mapping[str, Any]) -> str:
    """Return a sentence on what has changed; empty if nothing has."""
    changes = remark.get(SETTINGS_CHANGED, {}).items()
    words = ", ".join(
        f"{key} {_shown(before)} -> {_shown(after)}" for key, (before, after) in changes
    )
    return f"Settings that hold from here on: {words}." if words else ""


def _in_force(history: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of the last recorded round; {} if no line has any."""
    found: dict[str, Any] = {}
    for record in history:
        found |= record.get(SETTINGS, {})
        found |= {key: after for key, (_, after) in record.get(SETTINGS_CHANGED, {}).items()}
    return found


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
