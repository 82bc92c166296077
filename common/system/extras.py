"""Packages that only some commands need, and that come with an extra of ours."""

from importlib import import_module
from typing import Any

from fedshelf.common.errors import ConfigError


def import_extra(module: str, extra: str) -> Any:
    """Return a module that an extra brings.

    Args:
        module: its full name, as `onnxruntime`
        extra: the extra's name in our package, as `use`

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"This needs the package {error.name}, which is not installed:"
            f" pip install 'fedshelf[{extra}]'."
        ) from None
