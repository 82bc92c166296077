"""Write all that follows from the declared settings: `make settings`. With --check, only compare.

common/strategies/...   --->  common/config/strategy_settings.py   the strategies' and the codecs'
common/compression/...  --->  common/config/codec_settings.py      own settings, without PyTorch
common/config/...       --->  pyproject.toml                       what Flower may override
                        --->  docs/reference/settings.md           for people
                        --->  common/settings.json                 for --help
"""

import ast
import inspect
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import tomli_w

from fedshelf.common import models
from fedshelf.common.compression import CODECS
from fedshelf.common.config import RunConfig, field_types, to_flower
from fedshelf.common.config.federation import CommonMessagesConfig
from fedshelf.common.config.field_types import CodecSettings, Section, StrategySettings
from fedshelf.common.config.model_train_strategy import CommonStrategyConfig
from fedshelf.common.strategies import STRATEGIES
from fedshelf.simulations.datasets import DATASETS

ROOT = Path(__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"
TABLE = ROOT / "docs/reference/settings.md"
FLAGS = ROOT / "common/settings.json"
NAMES = {
    "data.dataset": tuple(DATASETS),
    "model.name": models.names(),
    "strategy.name": tuple(STRATEGIES),
}
TABLE_OF_FLOWER = "[tool.flwr.app.config]\n"
TEXT_COLUMNS = 82  # of a description's line in the schema, between its quotes

SOURCE = '''"""The settings of all {family}, readable without PyTorch, which {family} load.

Written by `make settings` from their declarations in `common/{folder}`: change them there.
"""

from typing import {typing}

from pydantic import Field

{ours}from fedshelf.common.config.{shared_module} import {shared}


class {name}({shared}):
    """{about}"""

{built_in}{fields}
'''


class Family(NamedTuple):
    """Classes that declare settings of their own, and the section of the schema that has them.

    Attributes:
        words: the family, in the plural
        section: name of the section's class, which is written
        about: its docstring
        shared: its base, with the settings that all members share
        members: the name that a setting gives each member -> the class of its settings
    """

    words: str
    folder: str
    section: str
    about: str
    shared: type[Section]
    members: dict[str, type[StrategySettings | CodecSettings]]


FAMILIES = {
    ROOT / "common/config/strategy_settings.py": Family(
        "strategies",
        "strategies",
        "StrategyConfig",
        "The federated algorithm and its settings.",
        CommonStrategyConfig,
        {name: strategy.settings_class() for name, strategy in STRATEGIES.items()},
    ),
    ROOT / "common/config/codec_settings.py": Family(
        "codecs",
        "compression",
        "MessagesConfig",
        "The form in which updates travel from the stores to the server.",
        CommonMessagesConfig,
        {name: codec.settings_class() for name, codec in CODECS.items()},
    ),
}


class Declared(NamedTuple):
    """One setting of a strategy or codec, as its file declares it."""

    owner: type[Section]
    type: str
    default: str
    description: str


def declarations(owner: type[Section]) -> Iterator[tuple[str, Declared]]:
    """Yield the settings that a class declares itself, in the order of its source."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        name = ast.unparse(node.target)
        field = owner.model_fields[name]
        assert isinstance(node.value, ast.Call), f"{owner.__name__}.{name} has no Field(...)"
        known = {"Annotated", "Literal", "Field", *vars(field_types)} | vars(__builtins__).keys()
        used = {part.id for part in ast.walk(node.annotation) if isinstance(part, ast.Name)}
        if strange := used - known:
            sys.exit(f"{owner.__name__}.{name} has a type of {strange}; take one of field_types.")
        default = ast.unparse(node.value.args[0])
        yield name, Declared(owner, ast.unparse(node.annotation), default, field.description or "")


def own_settings(family: Family) -> dict[str, tuple[Declared, list[str]]]:
    """Return each setting of a family's members with the names of those that have it."""
    found: dict[str, tuple[Declared, list[str]]] = {}
    for member, settings in family.members.items():
        for owner in (o for o in reversed(settings.__mro__) if issubclass(o, Section)):
            for name, declared in declarations(owner):
                if name in family.shared.model_fields:
                    sys.exit(f"{owner.__name__}.{name} is a setting of all {family.words} already.")
                first, users = found.setdefault(name, (declared, []))
                if first.owner is not owner:
                    sys.exit(
                        f"{owner.__name__} and {first.owner.__name__} both declare {name}; let both"
                        " inherit it from one class, as it has one meaning."
                    )
                users.append(member)
    return found


def schema(family: Family) -> str:
    """Return the source of the section that has the settings of a family."""
    fields = []
    for name, (declared, users) in own_settings(family).items():
        about = f"{', '.join(users)}: {declared.description}"
        lines = textwrap.wrap(about, TEXT_COLUMNS, break_on_hyphens=False, break_long_words=False)
        pieces = [lines[0], *(f" {line}" for line in lines[1:])]
        text = "\n".join('"' + piece.replace('"', '\\"') + '"' for piece in pieces)
        text = f"({text})" if len(pieces) > 1 else text
        fields.append(
            f"    {name}: {declared.type} = Field({declared.default}, description={text})"
        )
    source = "\n".join(fields)
    tree = ast.parse(f"class _:\n{source}")
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    built_in = ""
    if hasattr(family.shared, "built_in"):
        names = "".join(f'"{name}",' for name in family.members)
        built_in = f"    built_in: ClassVar = ({names})\n\n"
        words.add("ClassVar")
    typing = ", ".join(sorted(words & {"Annotated", "ClassVar", "Literal"}))
    ours = ", ".join(sorted(words & vars(field_types).keys() - {"Annotated", "Literal", "Field"}))
    if ours:
        ours = f"from fedshelf.common.config.field_types import {ours}\n"
    unformatted = SOURCE.format(
        family=family.words,
        folder=family.folder,
        typing=typing,
        ours=ours,
        shared_module=family.shared.__module__.rpartition(".")[2],
        shared=family.shared.__name__,
        name=family.section,
        about=family.about,
        built_in=built_in,
        fields=source,
    )
    format_it = [sys.executable, "-m", "ruff", "format", "--line-length", "100", "-"]
    done = subprocess.run(format_it, input=unformatted, capture_output=True, text=True, check=True)
    return done.stdout


def pyproject() -> str:
    """Return `pyproject.toml` with all settings and their defaults in Flower's table."""
    text = PYPROJECT.read_text(encoding="utf-8")
    before, opening, after = text.partition(TABLE_OF_FLOWER)
    rest = after[after.index("\n[") :]
    lines = [
        f"{key} = {tomli_w.dumps({'value': value}).removeprefix('value = ')}"
        for key, value in to_flower(RunConfig()).items()
    ]
    return before + opening + "".join(lines) + rest


def documentation() -> str:
    """Return the page with a table of all settings."""
    parts = [
        "# All settings\n\nWritten by `make settings`. `flower-simulation settings` lists the same."
        " Each is given with `--set KEY=VALUE`\nor in the TOML file of `--config`.\n"
    ]
    for section, found in RunConfig.model_fields.items():
        values: Section = found.default
        parts.append(f"\n## {section}\n\n| setting | default | meaning |\n|---|---|---|\n")
        for name, field in type(values).model_fields.items():
            meaning = (field.description or "").replace("|", "\\|")
            parts.append(f"| `{section}.{name}` | {_shown(field.default)} | {meaning} |\n")
    return "".join(parts)


def flags() -> str:
    """Return type, help and default of each setting for the command line, as JSON."""
    found = {}
    for section, part in RunConfig.model_fields.items():
        for name, field in type(part.default).model_fields.items():
            key = f"{section}.{name}"
            extra = field.json_schema_extra
            more = dict(extra) if isinstance(extra, dict) else {}
            kind = type(field.default).__name__
            about = (field.description or "") + (
                f"; built in: {', '.join(NAMES[key])}" if key in NAMES else ""
            )
            choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
            if unnamed := [each for each in choices if str(each) not in about]:
                sys.exit(f"The description of {key} must name {', '.join(map(str, unnamed))}.")
            default = "" if field.default in ("", ()) else str(field.default).lower()
            found[key] = {
                "type": "str" if kind == "tuple" else kind,
                "help": f"{about[0].upper()}{about[1:]}.",
                "default": default,
            } | more
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def _shown(value: Any) -> str:
    if value in ("", ()):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def write(path: Path, text: str) -> bool:
    """Write a file, or with --check only compare; return whether it was as it should be."""
    is_same = path.exists() and path.read_text(encoding="utf-8") == text
    if not is_same and "--check" in sys.argv:
        sys.exit(f"{path.relative_to(ROOT)} is not what the settings declare; run make settings.")
    if not is_same:
        path.write_text(text, encoding="utf-8")
    return is_same


outdated = [path for path, family in FAMILIES.items() if not write(path, schema(family))]
if outdated:  # what follows must read the new ones
    sys.exit(subprocess.run([sys.executable, __file__], check=False).returncode)
write(PYPROJECT, pyproject())
write(TABLE, documentation())
write(FLAGS, flags())
