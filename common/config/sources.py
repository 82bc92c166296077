"""The sources of a configuration: TOML, flags, `--set`, Flower's flat run config.

All mean the same.

The common form is flat: {"train.lr": 0.05}. Every source is turned into it; later sources win;
one function validates.
"""

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from fedshelf.common.config.plugin_settings import plugin_settings, unknown_strategy
from fedshelf.common.config.schema import RunConfig
from fedshelf.common.config.strategy_settings import StrategyConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.suggest import did_you_mean

Scalar = bool | int | float | str
Flat = dict[str, Any]

_RUN_TABLE = "this_run"
_OWN_NOTE = (
    "# These settings belong to this run: --config leaves each out, as long as it has the same"
    " value here and above."
)

EXPECTED_KINDS = {
    "string_type": "text in quotes",
    "tuple_type": "a list of names",
}  # pydantic's codes, in words for a person


def known_keys() -> dict[str, Any]:
    """Return all keys with their default values, in the order of the schema: {"data.dataset":
    "shelf", ...}.
    """
    return flatten(RunConfig())


def flatten(config: RunConfig) -> Flat:
    """Return the flat form with native values (class lists are tuples)."""
    return {
        f"{section}.{key}": value
        for section, values in config.model_dump().items()
        for key, value in values.items()
    }


def to_flower(config: RunConfig) -> dict[str, Scalar]:
    """Return Flower's flat run config: bool, int, float and str only; lists are text that `resolve`
    reads back.
    """
    return {
        key: _as_text(value) if isinstance(value, tuple) else value
        for key, value in flatten(config).items()
    }


def to_toml(config: RunConfig, own: Iterable[str] = ()) -> str:
    """Return the fully resolved configuration as TOML; `from_toml` reads it back unchanged.

    own: keys whose values belong to this run and no other; `for_another_run` leaves them out
    """
    text = tomli_w.dumps(config.model_dump(mode="json"))
    flat = flatten(config)
    mine = {key: flat[key] for key in sorted(own)}
    return f"{text}\n{_OWN_NOTE}\n{tomli_w.dumps({_RUN_TABLE: mine})}" if mine else text


def from_toml(path: Path) -> Flat:
    """Read a TOML file into the flat form. Raises ConfigError if it is missing or not TOML."""
    return _flat(
        {section: values for section, values in _document(path).items() if section != _RUN_TABLE}
    )


def for_another_run(path: Path) -> Flat:
    """Return the settings in a TOML file, except those that belong to the run that wrote it.

    A setting of that run is kept if a person has changed it since.

    Raises ConfigError if the file is missing or not TOML.
    """
    mine = own_settings(path)
    return {
        key: value
        for key, value in from_toml(path).items()
        if key not in mine or value != mine[key]
    }


def own_settings(path: Path) -> Flat:
    """Return the settings that belong to the run that wrote the TOML file; {} for a file that a
    person wrote.

    Raises ConfigError if it is missing or not TOML.
    """
    mine = _document(path).get(_RUN_TABLE, {})
    return dict(mine) if isinstance(mine, Mapping) else {}


def _document(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"Cannot read configuration {path}: {error.strerror}. Check the path given to --config."
        ) from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error


def _flat(document: Mapping[str, Any]) -> Flat:
    flat: Flat = {}
    for section, values in document.items():
        if isinstance(values, Mapping):
            flat |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            flat[section] = values
    return flat


def from_assignments(assignments: Iterable[str]) -> Flat:
    """Parse `--set` values such as "train.lr=0.05".

    Values stay text; `resolve` gives them their type.
    """
    flat: Flat = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(
                f"--set got {assignment!r}; expected KEY=VALUE, for example train.lr=0.05."
            )
        flat[key.strip()] = value.strip()
    return flat


def resolve(*sources: Mapping[str, Any]) -> RunConfig:
    """Merge flat sources, later ones winning, into one validated configuration.

    It has all settings of the strategy, also if an installed package brings it.

    Raises ConfigError naming the key, the value, the allowed values and, for an unknown key, the
    nearest valid one.
    """
    merged = {key: value for source in sources for key, value in source.items()}
    chosen = str(merged.get("strategy.name", StrategyConfig().name))
    own = plugin_settings(chosen)
    added = {f"strategy.{name}": field.default for name, field in own.model_fields.items()}
    defaults = added | known_keys()
    if not (added or chosen in StrategyConfig.built_in) and any(
        key.startswith("strategy.") for key in merged.keys() - defaults.keys()
    ):
        raise unknown_strategy(chosen)
    nested = _by_section(merged, defaults)
    try:
        if added:
            strategy = nested["strategy"]
            given = {name: strategy[name] for name in own.model_fields if name in strategy}
            nested["strategy"] = strategy | dict(own.model_validate(given))
    except ValidationError as error:
        raise ConfigError(_invalid(error, "strategy", own)) from None
    return _validated(nested)


def read_resolved(settings: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that a run has written, from its flat settings.

    Unlike `resolve` it needs no code of the run: a strategy that is not known here is a name, and
    settings of its own are as they were written, lists as tuples.

    Raises ConfigError as `resolve` does.
    """
    own: Flat = {}
    if settings.get("strategy.name") not in StrategyConfig.built_in:
        own = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in settings.items()
            if key.startswith("strategy.")
        }
    return _validated(_by_section({**settings, **own}, own | known_keys()))


def _by_section(flat: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return flat settings by section. Raises ConfigError for one that has no default."""
    nested: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        if key not in defaults:
            raise ConfigError(_unknown(key, list(defaults)))
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = (
            as_list(key, value) if isinstance(defaults[key], tuple) else value
        )
    return nested


def _validated(nested: Mapping[str, Mapping[str, Any]]) -> RunConfig:
    """Return the configuration of settings by section. Raises ConfigError."""
    try:
        return RunConfig.model_validate(nested)
    except ValidationError as error:
        section = str(error.errors()[0]["loc"][0])
        model = type(RunConfig.model_fields[section].default)
        raise ConfigError(_invalid(error, section, model)) from None


def as_list(key: str, value: Any) -> Any:
    """Return text as a list: a JSON one if it is in brackets, else split at commas.

    Return other values unchanged.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        return json.loads(text)
    except ValueError:
        raise ConfigError(
            f"Setting {key} got {value!r}; expected names with commas between them, or in brackets"
            ' a JSON list of names in double quotes, for example ["T-shirts, new", "hats"].'
        ) from None


def _as_text(names: tuple[str, ...]) -> str:
    """Return a list as text that `as_list` reads back: with commas, or as JSON if a name would not
    survive them.
    """
    plain = ",".join(names)
    survive = all(
        name and name == name.strip() and "," not in name for name in names
    ) and not plain.startswith("[")
    return plain if survive else json.dumps(names, ensure_ascii=False)


def _unknown(key: str, keys: list[str]) -> str:
    elsewhere = [
        candidate for candidate in keys if candidate.partition(".")[2] == key.rpartition(".")[2]
    ]
    hint = did_you_mean(key, keys) or did_you_mean(elsewhere[0] if elsewhere else "", elsewhere)
    return (
        "Unknown setting"
        f" {key!r}.{hint or ' Sections are ' + ', '.join(RunConfig.model_fields) + '.'}"
    )


def _invalid(error: ValidationError, section: str, model: type[BaseModel]) -> str:
    """Return one sentence for the first problem: key, value, allowed values, meaning."""
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"] if part != section]
    name = path[0] if path else ""
    meaning = model.model_fields[name].description if name in model.model_fields else ""
    allowed = EXPECTED_KINDS.get(problem["type"]) or problem["msg"].replace(
        "Input should be ", ""
    ).removeprefix("a ")
    return (
        f"Setting {section}.{name} got {problem['input']!r}; allowed: {allowed}. It means:"
        f" {meaning}."
    )
