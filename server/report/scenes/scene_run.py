"""The files of a run that its part on scenes is made from."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class SceneRun(Protocol):
    """The contents of a run directory, as `report.run_data.RunData` has them."""

    @property
    def history(self) -> Sequence[Mapping[str, Any]]:
        """One record per round."""

    @property
    def summary(self) -> Mapping[str, Any]:
        """The outcome."""

    @property
    def evaluation(self) -> Mapping[str, Any]:
        """Each store's results in full, and curves."""

    @property
    def per_store(self) -> Mapping[str, Mapping[str, Any]]:
        """The results by store."""

    @property
    def test_scenes(self) -> Mapping[str, Any] | None:
        """Photos that the server tests on, or None."""
