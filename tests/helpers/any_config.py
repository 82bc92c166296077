"""Configurations that a server can send: any valid value of any setting."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st
from pydantic import ValidationError

from fedshelf.common.config import RunConfig
from fedshelf.common.strategies import STRATEGIES

# texts that mean something; any other text is a name that nobody knows
_TEXTS = {
    "model.name": ["niid-cnn", "cnn", "resnet18"],
    "model.freeze": ["none", "backbone", "last:1"],
    "strategy.name": sorted(STRATEGIES),
    "messages.compression": ["none", "fp16", "int8", "top-k"],
    "data.dataset": ["stores", "shelf"],
    "data.augmentation": ["", "mylab:fade"],
    "evaluation.metric": ["accuracy", "macro_f1", "loss"],
}


def flat_schema() -> dict[str, Mapping[str, Any]]:
    """The JSON schema of each setting, by its key."""
    schema = RunConfig.model_json_schema()
    sections = {
        name: schema["$defs"][part["$ref"].rpartition("/")[2]]["properties"]
        for name, part in schema["properties"].items()
    }
    return {
        f"{section}.{name}": field
        for section, fields in sections.items()
        for name, field in fields.items()
    }


def values_of(key: str, field: Mapping[str, Any], classes: tuple[str, ...]) -> list[Any]:
    """The default of a setting, and other values near the ends of its range."""
    default = field.get("default")
    if "enum" in field:
        return list(field["enum"])
    match field["type"]:
        case "boolean":
            return [False, True]
        case "array" if key == "evaluation.metrics":
            return [[], ["top3"], ["balanced_accuracy", "auroc"]]
        case "array":
            return [[], list(classes), list(classes[:1]), ["sock"]]
        case "integer" | "number":
            near = {0, 1, 2, 16, 0.1, 0.5, 0.9}
            return [default, *sorted(value for value in near if _is_valid(key, value))]
        case _:
            return _TEXTS.get(key, [default])


def any_config(base: Mapping[str, Any], classes: tuple[str, ...]) -> st.SearchStrategy[RunConfig]:
    """Configurations that differ from `base` in up to four settings."""
    choices = {
        key: values
        for key, field in flat_schema().items()
        if len(values := values_of(key, field, classes)) > 1
    }
    changes = st.lists(st.sampled_from(sorted(choices)), max_size=4, unique=True).flatmap(
        lambda keys: st.fixed_dictionaries({key: st.sampled_from(choices[key]) for key in keys})
    )
    return changes.map(lambda changed: config_of({**base, **changed}))


def config_of(flat: Mapping[str, Any]) -> RunConfig:
    """The configuration of flat settings, as a store reads it: each value valid by itself."""
    nested: dict[str, dict[str, Any]] = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return RunConfig.model_validate(nested)


def _is_valid(key: str, value: float) -> bool:
    try:
        config_of({key: value})
    except ValidationError:
        return False
    return True
