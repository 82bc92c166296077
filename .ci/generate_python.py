"""Write docs/reference/python.md from the docstrings of the Python interface. With --check, only
compare.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fedshelf
from fedshelf.common.inference.finished_model import FinishedModel, PhotoPrediction
from fedshelf.simulations.python.callbacks import PlayedRound
from fedshelf.simulations.python.simulated_run import SimulatedRun
from fedshelf.simulations.python.studies import Study

PAGE = Path(__file__).parents[1] / "docs/reference/python.md"
CLASSES = (SimulatedRun, Study, PlayedRound, FinishedModel, PhotoPrediction)
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Yields")
HEAD = """# Python

Written by `make settings` from the docstrings: the functions of `import fedshelf`, and the classes
of what they return. `fedshelf.Strategy` and `fedshelf.StrategySettings` are the classes to derive
strategies from ([a whole one](../../CONTRIBUTING.md#add-a-strategy)).
"""


def page() -> str:
    """Return the page: functions first, then classes with their methods and properties."""
    parts = [HEAD]
    for name in fedshelf.__all__:
        found = getattr(fedshelf, name)
        if inspect.isfunction(found):
            parts.append(_entry("##", f"fedshelf.{name}", found))
    for one in CLASSES:
        parts.append(f"\n## {one.__name__}\n\n{_text(one)}\n")
        parts += [_entry("###", f"{one.__name__}.{name}", member) for name, member in _members(one)]
    return "".join(parts)


def _members(one: type) -> Iterator[tuple[str, Any]]:
    for name, member in vars(one).items():
        found = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(found):
            yield name, member


def _entry(level: str, name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"\n{level} {name}\n\n{_text(member.fget)}\n"
    return f"\n{level} {name}\n\n```\n{_broken(_call(name, member))}\n```\n\n{_text(member)}\n"


def _call(name: str, function: Any) -> str:
    """Return a function's signature as its source has it, without quotes around types."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef)
    arguments = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    result = ast.unparse(node.returns) if node.returns else "None"
    return re.sub(r"(: |-> )'([^']+)'", r"\1\2", f"{name}({arguments}) -> {result}")


def _broken(call: str) -> str:
    """Return a call on one line, or with an argument a line if it is long."""
    if len(call) <= 100:
        return call
    opening, _, rest = call.partition("(")
    arguments, _, result = rest.rpartition(") -> ")
    pieces = re.split(r", (?=\*|\w+[:=,]|\w+$)", arguments)
    return "\n".join([f"{opening}(", *(f"    {piece}," for piece in pieces), f") -> {result}"])


def _text(documented: Any) -> str:
    """Return a docstring as Markdown: its sections become lists."""
    lines = []
    section = ""
    for line in inspect.cleandoc(documented.__doc__ or "").splitlines():
        if line.rstrip(":") in SECTIONS and line.endswith(":"):
            section = line
            lines.append(f"**{section.rstrip(':')}**\n")
        elif section in ("Args:", "Attributes:", "Raises:") and re.match(r" {4}\w[\w., ]*: ", line):
            name, _, meaning = line.strip().partition(": ")
            lines.append(f"- `{name}`: {meaning}")
        elif section and line.strip():
            lines.append(f"  {line.strip()}" if section != "Returns:" else line.strip())
        else:
            lines.append(line)
    return "\n".join(lines)


text = page()
if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
    if "--check" in sys.argv:
        sys.exit(f"{PAGE.name} is not what the docstrings say; run make settings.")
    PAGE.write_text(text, encoding="utf-8")
