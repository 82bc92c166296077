"""The snippets of docs/how-to/python.md, and the module that its commands name."""

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "python.md"
RESULTS = ("run", "model", "study")


def blocks(language: str) -> list[str]:
    """Return the page's blocks of a language, in their order."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def definitions() -> str:
    """Write the definitions of the snippets into a module that a command names."""
    kept = [
        node
        for node in ast.parse("\n".join(blocks("python"))).body
        if not isinstance(node, ast.Expr)
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in RESULTS)
    ]
    return "\n".join(map(ast.unparse, kept))
