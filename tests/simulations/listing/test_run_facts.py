"""Facts about runs with other figures than accuracy."""

from pathlib import Path

import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.server.formatting import percent
from fedshelf.simulations.listing.command import is_lower_better, list_runs, print_difference
from fedshelf.simulations.listing.run_facts import read_facts
from tests.helpers.scene_run import make_scene_run


def test_a_run_on_scenes_is_listed_by_its_ap_and_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = make_scene_run(tmp_path / "shelves", "boxes", rounds=1)
    facts = read_facts(tmp_path / "shelves", "shelves")
    test = summary["test"]
    assert (facts.figure, facts.test) == ("ap", test["ap"])
    assert facts.further == {key: test[key] for key in ("ap_50", "count_error")}
    assert facts.validation is not None
    assert is_lower_better("count_error", [facts])
    assert not is_lower_better("ap_50", [facts])
    list_runs(tmp_path, "count_error", as_json=False)
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split()[:8] == [
        "run", "state", "rounds", "figure", "validation", "test", "ap_50", "count_error",
    ]  # fmt: skip
    assert row.split()[3:6] == ["AP", percent(facts.validation), percent(facts.test)]
    print_difference(tmp_path / "shelves", tmp_path / "shelves")
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert told[:7] == [
        "state", "rounds", "figure", "validation", "test", "ap_50", "count_error",
    ]  # fmt: skip
    with pytest.raises(ConfigError, match=r"expected one of name, .*, ap_50, count_error"):
        list_runs(tmp_path, "auroc", as_json=False)
