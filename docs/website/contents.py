"""The contents: a list of pages that ends with `*` has all others of its folder there.

Sphinx can do so (`:glob:`), but warns if there are no others, and a warning ends our build.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

LIST = re.compile(r"^```\{toctree\}\n.*?^```", re.DOTALL | re.MULTILINE)
OTHERS = re.compile(r"^((?:[\w-]+/)?)\*\n", re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the reading of pages."""
    app.connect("source-read", _complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _complete(app: Sphinx, page: str, source: list[str]) -> None:
    if page != app.config.root_doc:
        return
    listed = {entry for block in LIST.findall(source[0]) for entry in block.split()}

    def others(found: re.Match[str]) -> str:
        files = sorted((Path(app.srcdir) / found[1]).glob("*.md"))
        names = [found[1] + file.stem for file in files]
        return "".join(f"{name}\n" for name in names if name not in listed | {page})

    source[0] = OTHERS.sub(others, source[0])
