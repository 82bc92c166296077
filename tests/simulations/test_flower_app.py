"""Flower's own tools read `pyproject.toml` and the apps that it names."""

import importlib
import tomllib
from pathlib import Path
from typing import Any

from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

from fedshelf.common.config import RunConfig, flatten, resolve, to_flower

PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


def flower() -> dict[str, Any]:
    loaded: dict[str, Any] = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["flwr"][
        "app"
    ]
    return loaded


def flat(config: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section, values in config.items()
        for key, value in values.items()
    }


def test_flowers_run_config_has_every_setting_with_its_default() -> None:
    """Flower overrides no key that does not stand there."""
    assert flat(flower()["config"]) == to_flower(RunConfig())


def test_flowers_run_config_means_the_same_as_none() -> None:
    assert flatten(resolve(flat(flower()["config"]))) == flatten(RunConfig())


def test_the_apps_are_where_flower_looks_for_them() -> None:
    for role, kind in (("serverapp", ServerApp), ("clientapp", ClientApp)):
        module, _, name = flower()["components"][role].partition(":")
        assert isinstance(getattr(importlib.import_module(module), name), kind)
