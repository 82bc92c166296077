"""A cell of a published table: the run that reproduces it, and the published figure.

A cell is `cells/NAME.toml`: settings of a run, as `flower-simulation run --config` takes them, and
a table [published]. The settings that all cells of a published table share are in a file of their
own, which a cell names as its `base`.
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from fedshelf.common.config import RunConfig, flatten, resolve

FOLDER = Path(__file__).with_name("cells")
BASE = "base-"  # how the names of the shared files begin


class Published(BaseModel):
    """The published result.

    Attributes:
        source: authors and publication
        figure: share of correctly classified test images; None: there is none, as the cell is a
            setting of ours
        metric: meaning of the figure: which images, which round, how many runs
        others: figures of others for the same nominal cell
        budget: stores, rounds, local epochs, batch
        unequal: the known differences of our run
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    figure: float | None = None
    metric: str
    others: str = ""
    budget: str
    unequal: str


@dataclass(frozen=True)
class Cell:
    """A cell by its name, with the configuration of its run.

    split: whose splits it is dealt by; "": ours
    """

    name: str
    config: RunConfig
    published: Published
    split: str = ""

    @property
    def budget(self) -> str:
        """Rounds and local epochs, such as "50 x 10"."""
        return f"{self.config.run.rounds} x {self.config.train.epochs}"

    def reduced(self, rounds: int | None, epochs: int | None) -> "Cell":
        """Return the same cell with fewer rounds or local epochs; None: as many."""
        wanted = {"run.rounds": rounds, "train.epochs": epochs}
        changes = {key: value for key, value in wanted.items() if value is not None}
        return self._with(changes)

    def seeded(self, seed: int) -> "Cell":
        """Return the same cell with this seed."""
        return self._with({"run.seed": seed})

    def dealt(self, split: str, partition: str) -> "Cell":
        """Return the same cell with a split of others.

        Args:
            split: its name
            partition: the partition that reads it
        """
        return replace(self._with({"data.partition": partition}), split=split)

    def _with(self, changes: dict[str, Any]) -> "Cell":
        return replace(self, config=resolve(flatten(self.config), changes))


def names() -> list[str]:
    """Return the names of all cells, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml") if not path.stem.startswith(BASE))


def read(name: str) -> Cell:
    """Return the cell of this name.

    Raises:
        SystemExit: there is none.
        ConfigError: a setting does not exist.
    """
    if name not in names():
        raise SystemExit(f"Unknown cell {name!r}; expected one of: {', '.join(names())}.")
    own = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    base = own.pop("base")
    shared = tomllib.loads((FOLDER / f"{BASE}{base}.toml").read_text(encoding="utf-8"))
    published = Published(**(shared.pop("published") | own.pop("published", {})))
    return Cell(name, resolve(_flat(shared), _flat(own)), published)


def _flat(tables: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        f"{section}.{key}": value
        for section, values in tables.items()
        for key, value in values.items()
    }
