"""The options of a comparison that nobody gave."""

from contextlib import closing
from pathlib import Path

import pytest

from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.simulations.compare.request import (
    ComparisonRequest,
    agree_on_options,
    prepare_comparison,
)


@pytest.mark.parametrize(("strategy", "epochs"), [("fedavg", 2), ("ridge", 0), ("prototypes", 0)])
def test_a_head_in_closed_form_is_not_fine_tuned_unasked(
    tmp_path: Path, strategy: str, epochs: int
) -> None:
    config = resolve({"strategy.name": strategy, "run.out": str(tmp_path / "run")})
    request = ComparisonRequest({}, False, (), None, None, leave_one_out=False)
    asked = ComparisonRequest({}, False, (), 3, None, leave_one_out=False)
    with closing(RunDirectory.open(tmp_path / "run", config)) as directory:
        assert agree_on_options(request, config, directory).tune_epochs == epochs
    with closing(RunDirectory.open(tmp_path / "asked", config)) as directory:
        assert agree_on_options(asked, config, directory).tune_epochs == 3


def test_scenes_have_no_classes_to_compare() -> None:
    """Their labels, which deal them to stores, are styles of shelves."""
    scenes = {"data.dataset": "shelf-scenes"}
    request = ComparisonRequest(scenes, False, (), None, None, leave_one_out=False)
    with pytest.raises(ConfigError, match="got shelf-scenes, whose photos show many products"):
        prepare_comparison(request)
