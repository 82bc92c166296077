"""A figure that a notebook shows, whichever backend it has. Import it late, as matplotlib is."""

from io import BytesIO

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A matplotlib figure without pyplot, so that nothing keeps it when nobody else does."""

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png", dpi=120)
        return buffer.getvalue()
