"""A package that is installed: its files and its metadata in a folder, as pip leaves them."""

from collections.abc import Mapping
from pathlib import Path


def install(
    site: Path, name: str, entry_points: str, modules: Mapping[str, str], version: str = "1.0"
) -> Path:
    """Write a distribution `name` with entry points and modules into the folder `site`."""
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    for module, text in modules.items():
        (site / f"{module}.py").write_text(text)
    return site
