"""The list of all settings, for `flower-simulation settings`."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from fedshelf.common.config import RunConfig, known_keys
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean


@dataclass(frozen=True)
class ListedSetting:
    """A setting, as it is declared.

    Attributes:
        key: section and name, for example train.lr
        default: as JSON has it
        meaning: with unit and allowed values
    """

    key: str
    default: Any
    meaning: str


def find_settings(word: str) -> list[ListedSetting]:
    """Return the settings of a section, or those whose key or meaning has a word.

    Args:
        word: a section (train), a key (train.lr), or any text, whatever its case; empty: all

    Raises:
        ConfigError: no setting has it.
    """
    defaults = RunConfig()
    found = []
    for key, default in known_keys().items():
        section, _, name = key.partition(".")
        field = type(getattr(defaults, section)).model_fields[name]
        listed = list(default) if isinstance(default, tuple) else default
        found.append(ListedSetting(key, listed, field.description or ""))
    sections = {setting.key.partition(".")[0] for setting in found}
    if word in sections:
        return [setting for setting in found if setting.key.startswith(f"{word}.")]
    sought = word.lower()
    chosen = [each for each in found if sought in f"{each.key} {each.meaning}".lower()]
    if not chosen:
        names = [*sorted(sections), *(setting.key for setting in found)]
        raise ConfigError(
            f"No setting has {word!r} in its name or meaning.{did_you_mean(word, names)} Sections"
            f" are {', '.join(sorted(sections))}."
        )
    return chosen


def print_settings(found: list[ListedSetting], *, as_json: bool) -> None:
    """Print settings as a table, or as one JSON object from their keys."""
    if as_json:
        values = {each.key: {k: v for k, v in asdict(each).items() if k != "key"} for each in found}
        print(json.dumps(values, indent=1, ensure_ascii=False))
        return
    table = Table("setting", "default", "meaning", box=None)
    for each in found:
        table.add_row(each.key, "" if each.default in ("", []) else str(each.default), each.meaning)
    Console().print(table, markup=False)
