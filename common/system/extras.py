"""Packages that only some commands need, and that come with an extra of ours."""

import os
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


def import_onnx_runtime(extra: str) -> Any:
    """Return the module `onnxruntime`, which then reports nothing to its maker.

    From 1.32 on, its official packages count what is run, write an identity of the machine into
    `~/.cache/Microsoft`, and send both to Microsoft, unless this variable is set before they load.
    On Windows only the call helps.

    Args:
        extra: see `import_extra`

    Raises:
        ConfigError: it is not installed.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    runtime = import_extra("onnxruntime", extra)
    runtime.disable_telemetry_events()
    return runtime
