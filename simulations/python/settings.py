"""Settings as keyword arguments: `train_lr=0.05` is the setting train.lr."""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedshelf.common.config import RunConfig, known_keys
from fedshelf.common.config.plugin_settings import plugin_settings
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import nearest

SHORT = {  # parameters of `fedshelf.simulate` and `compare`, and the settings that they are
    "dataset": "data.dataset",
    "stores": "data.stores",
    "partition": "data.partition",
    "model": "model.name",
    "strategy": "strategy.name",
    "rounds": "run.rounds",
    "seed": "run.seed",
    "out": "run.out",
    "classes": "data.classes",
    "augmentation": "data.augmentation",
    "metrics": "evaluation.metrics",
}


CLOSE = 0.7  # similarity of names, from which one is taken for a slip in the other


def to_keys(settings: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """Return flat settings from keyword arguments: {"train_lr": 0.05} -> {"train.lr": 0.05}.

    Args:
        settings: SECTION_NAME -> value
        strategy: the run's, which may have settings of its own

    Raises:
        ConfigError: there is no such setting.

    >>> to_keys({"train_lr": 0.05, "strategy_mu": 0.1}, "fedprox")
    {'train.lr': 0.05, 'strategy.mu': 0.1}
    """
    own = [f"strategy.{name}" for name in plugin_settings(strategy).model_fields]
    known = {keyword(key): key for key in (*known_keys(), *own)}
    short = {keyword(key): name for name, key in SHORT.items()}
    flat = {}
    for name, value in settings.items():
        if name in short:
            raise ConfigError(f"Unknown argument {name!r}: it is called {short[name]} here.")
        if name not in known:
            raise ConfigError(_unknown(name, list(known)))
        flat[known[name]] = plain(value)
    return flat


def keyword(key: str) -> str:
    """Return the keyword argument of a setting: train.lr -> train_lr."""
    return key.replace(".", "_", 1)


def plain(value: Any) -> Any:
    """Return a value as settings have it: paths are text, and NumPy's numbers plain ones."""
    if isinstance(value, Path):
        return str(value)
    return value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value


def _unknown(name: str, known: list[str]) -> str:
    """Return the sentence for an unknown setting, with the nearest one."""
    flat = name.replace(".", "_", 1)
    if flat in known:
        return f"Unknown setting {name!r}: as a keyword argument it is {flat}."
    near = _nearest(name, known)
    hint = f" Did you mean {near}?" if near else ""
    sections = ", ".join(f"{section}_..." for section in RunConfig.model_fields)
    return (
        f"Unknown setting {name!r}.{hint} Settings are {sections}; fedshelf.settings() lists all."
    )


def _nearest(name: str, known: list[str]) -> str | None:
    """Return the setting that a person most probably meant; None: no idea."""
    same = [each for each in known if each.partition("_")[2] == name]
    if name.partition("_")[0] in RunConfig.model_fields or same:
        return same[0] if same else nearest(name, known)
    if close := difflib.get_close_matches(name, [*SHORT, *known], n=1, cutoff=CLOSE):
        return close[0]
    words = name.replace("_", " ")
    found = [
        keyword(f"{section}.{key}")
        for section, values in RunConfig()
        for key, declared in type(values).model_fields.items()
        if words in (declared.description or "")
    ]
    return found[0] if found else None
