"""Links of our pages to files beside docs/, which work where the repository is shown.

The site has no such files: there the link's text stands alone, as code if it names a file. Two of
them are pages of the site, too, in place of the short pages that link to them.
"""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).parents[1]
SHOWN = {
    "contributing": "CONTRIBUTING.md",
    "changelog": "CHANGELOG.md",
}  # page -> file beside docs/
FENCED = r"^ *```.*?^ *```"
LINK = r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)"
LINK_OR_CODE = re.compile(f"{FENCED}|{LINK}", re.DOTALL | re.MULTILINE)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to the reading of pages."""
    app.connect("source-read", _replace)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _replace(_: Sphinx, page: str, source: list[str]) -> None:
    text = source[0]
    folder = (DOCS / page).parent
    if page in SHOWN:
        file = DOCS.parent / SHOWN[page]
        folder = file.parent
        text = file.read_text(encoding="utf-8")

    def replaced(link: re.Match[str]) -> str:
        words, path, anchor = link.groups("")
        if not path:
            return link.group()  # code
        target = _page_of((folder / path).resolve())
        if target is None:
            names_a_file = not words.startswith("`") and re.search(r"[/.]", words)
            return f"`{words}`" if names_a_file else words
        return f"[{words}]({os.path.relpath(target, (DOCS / page).parent)}{anchor})"

    source[0] = LINK_OR_CODE.sub(replaced, text)


def _page_of(target: Path) -> Path | None:
    """Return the file in docs/ that shows a file on the site; None if none does."""
    if target.is_relative_to(DOCS):
        return target
    outside = target.relative_to(DOCS.parent).as_posix()
    return next((DOCS / f"{page}.md" for page, file in SHOWN.items() if file == outside), None)
