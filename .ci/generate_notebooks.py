"""Write a notebook beside each of the first two tutorials. With --check, only compare.

Commands are cells of bash, which fail as commands do; snippets of Python are cells; all else is
text. So a tutorial is written once, in Markdown.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

TUTORIALS = Path(__file__).parents[1] / "docs/tutorials"
NAMES = ("first-run", "your-photos")
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```\n?", re.DOTALL | re.MULTILINE)
OPENING = """import os
import sys
from pathlib import Path

# the commands of this notebook's environment, also where Jupyter was started from another one
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}\""""


def notebook(text: str) -> str:
    """Return the notebook of a page, as JSON.

    Args:
        text: the page in Markdown
    """
    cells: list[dict[str, Any]] = []
    end = 0
    for found in BLOCK.finditer(text):
        _add(cells, "markdown", text[end : found.start()])
        if not any(cell["cell_type"] == "code" for cell in cells):
            _add(cells, "code", OPENING)
        language, block = found.groups()
        _add(cells, "code", f"%%bash\nset -e\n{block}" if language == "sh" else block)
        end = found.end()
    _add(cells, "markdown", text[end:])
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _add(cells: list[dict[str, Any]], kind: str, text: str) -> None:
    if not text.strip():
        return
    of_code = {"execution_count": None, "outputs": []} if kind == "code" else {}
    cells.append(
        {"cell_type": kind, "id": f"cell-{len(cells)}", "metadata": {}}
        | of_code
        | {"source": text.strip().splitlines(keepends=True)}
    )


for name in NAMES:
    path = TUTORIALS / f"{name}.ipynb"
    wanted = notebook(path.with_suffix(".md").read_text(encoding="utf-8"))
    if not path.exists() or path.read_text(encoding="utf-8") != wanted:
        if "--check" in sys.argv:
            sys.exit(f"{path.name} is not what its tutorial says; run make settings.")
        path.write_text(wanted, encoding="utf-8")
