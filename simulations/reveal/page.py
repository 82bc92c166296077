"""`report.html` of what an update reveals."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedshelf.common.system.files import write_text
from fedshelf.common.text import printable
from fedshelf.simulations.compare.page import environment
from fedshelf.simulations.reveal.inversion import Inversion
from fedshelf.simulations.reveal.words import headline

RESULTS_FILE = "reveal.json"
TITLES = {
    "none": "Without protection",
    "dp": "Differential privacy",
    "sum": "Secure sum",
}
_SHOWN_SIDE = 96  # pixels of a photo on the page


def write(
    directory: Path, results: dict[str, Any], inversions: Mapping[str, Sequence[Inversion]]
) -> Path:
    """Write the page and return its path.

    Raises:
        OSError: it cannot be written.
    """
    path = directory / "report.html"
    write_text(path, render(directory.resolve().name, results, inversions))
    return path


def render(
    name: str, results: dict[str, Any], inversions: Mapping[str, Sequence[Inversion]]
) -> str:
    """Return the page as HTML; names are escaped everywhere.

    Args:
        name: the name of the directory
        results: the content of `reveal.json`
        inversions: redrawn photos by protection: "none", "dp" and "sum"
    """
    pictures = [
        {
            "title": TITLES[protection],
            "photos": each.photos,
            "pairs": [
                {"original": _data_uri(one), "redrawn": _data_uri(other), "decibels": decibels}
                for one, other, decibels in zip(
                    each.originals, each.redrawn, each.decibels, strict=False
                )
            ],
        }
        for protection, redrawn in inversions.items()
        for each in redrawn
    ]
    protected = results["protected"]
    columns = [(TITLES["none"], results)]
    columns += [(TITLES[key], protected[key]) for key in ("dp", "sum") if key in protected]
    return (
        environment(Path(__file__).parent)
        .get_template("reveal.html.j2")
        .render(
            name=printable(name),
            results=results,
            sentences=headline(results),
            columns=columns,
            pictures=pictures,
        )
    )


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return a photo, uint8 [H, W, C], as the address of an enlarged PNG."""
    shown = pixels[..., 0] if pixels.shape[2] == 1 else pixels
    image = Image.fromarray(shown).resize((_SHOWN_SIDE, _SHOWN_SIDE), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
