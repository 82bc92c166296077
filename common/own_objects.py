"""Objects of a person's own (a strategy, a network, a data set ...), by the name `module:Object`.

A name is code to import, and names come in settings, in orders and in files of models. So a name
counts only if this process was told so: by `allow`, for the settings of its own person, or by
`register`, with the object itself. All other names are unknown ones.
"""

import importlib
import os
import re
import sys
from typing import Any

from fedshelf.common.errors import ConfigError

GIVEN = "python"
"""The module in the names of objects that no import finds, as of a class in a notebook."""

_IDENTIFIER = r"[A-Za-z_]\w*"
_NAME = re.compile(rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})*:{_IDENTIFIER}(?:\.{_IDENTIFIER})*")

_allowed: dict[str, bool] = {}  # name -> whether its module may lie in the current folder
_registered: dict[tuple[str, str], Any] = {}  # (group, name) -> object


def is_name(text: str) -> bool:
    """Return whether a text has the form `module:Object`.

    >>> is_name("mylab.clipping:LayerClip"), is_name("dirichlet:0.5"), is_name("cnn")
    (True, False, False)
    """
    return _NAME.fullmatch(text) is not None


def is_given(name: str) -> bool:
    """Return whether a name is one of an object that only a Python program can give."""
    return name.startswith(f"{GIVEN}:")


def name_of(thing: Any) -> str:
    """Return the name under which an object is known, `python:Object` if no import finds it.

    >>> name_of(ConfigError), name_of(lambda labels: labels)
    ('fedshelf.common.errors:ConfigError', 'python:lambda')
    """
    is_definition = hasattr(thing, "__qualname__")
    definition = thing if is_definition else type(thing)
    module, qualified = definition.__module__, definition.__qualname__
    if is_definition and module != "__main__" and _imported(module, qualified) is thing:
        return f"{module}:{qualified}"
    plain = re.sub(r"\W", "", qualified.rpartition(".")[2])
    return f"{GIVEN}:{plain or 'Object'}"


def _imported(module: str, qualified: str) -> Any:
    """Return what lies under a qualified name in a module that is imported already, or None."""
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        found = getattr(found, part, None)
    return found


def allow(name: str, *, from_here: bool = True) -> None:
    """Let this process import a name's module when it is looked up.

    Args:
        name: `module:Object`
        from_here: whether the module may lie in the current folder; else it must be installed,
            unless an earlier call said otherwise
    """
    _allowed[name] = from_here or _allowed.get(name, False)


def register(group: str, name: str, thing: Any) -> None:
    """Make an object known to this process, and to those that it forks.

    Args:
        group: the kind of object, as `common.plugins` names it
        name: as `name_of` returns it
        thing: replaces an earlier object of this name
    """
    _registered[group, name] = thing


def registered(group: str, name: str) -> Any | None:
    """Return the object that was registered, or None."""
    return _registered.get((group, name))


def find(group: str, noun: str, name: str) -> Any | None:
    """Return the object of a name; None if this process knows no such name.

    Args:
        group: the kind of object, as `common.plugins` names it
        noun: the same in words
        name: as settings have it

    Raises:
        ConfigError: its module cannot be imported or lacks it, or it is one that only a Python
            program can give, and this one did not.
    """
    if (group, name) in _registered:
        return _registered[group, name]
    if is_given(name):
        raise ConfigError(
            f"The {noun} {name} is an object that a Python program gave and that no import finds;"
            f" give it again (fedshelf.simulate(resume=...) and the {noun}), or put it into a"
            " module, and it is found as module:Object."
        )
    if name not in _allowed or not is_name(name):
        return None
    module, _, qualified = name.partition(":")
    if _allowed[name] and (here := os.getcwd()) not in sys.path:  # noqa: PTH109
        sys.path.append(here)  # last, so that no file here hides an installed module
    try:
        found: Any = importlib.import_module(module)
        for part in qualified.split("."):
            found = getattr(found, part)
    except Exception as error:  # a person's module may raise anything
        raise ConfigError(
            f"The {noun} {name!r} cannot be imported ({type(error).__name__}: {error});"
            f" {module.partition('.')[0]} must"
            f" {'lie in the current folder, or be' if _allowed[name] else 'be'} installed, and"
            f" have {qualified}."
        ) from error
    return found
