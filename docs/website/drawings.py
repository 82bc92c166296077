"""Drawings stand in the page itself, so that they follow its colours, light or dark."""

from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to each page when it is about to be written."""
    app.connect("doctree-resolved", _put_in)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _put_in(app: Sphinx, page: nodes.document, _: str) -> None:
    for image in list(page.findall(nodes.image)):
        if image["uri"].endswith(".svg"):
            drawing = (Path(app.srcdir) / image["uri"]).read_text(encoding="utf-8")
            image.replace_self(nodes.raw("", drawing, format="html"))
