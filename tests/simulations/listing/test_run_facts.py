"""Facts about runs with other figures than accuracy."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import Field
from torch import Tensor

import fedshelf
from fedshelf.common import own_objects
from fedshelf.common.config.field_types import Fraction
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
    counting = summary["counting"]
    assert facts.further == {"ap_50": test["ap_50"], "count_error": counting["count_error"]}
    assert counting["threshold"] != 0.3  # else the figures of both scores would be the same
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


class HalfwaySettings(fedshelf.StrategySettings):
    step: Fraction = Field(0.5, description="share of the way that is gone")
    kinds: tuple[str, ...] = Field(("head",), description="names of layers")


def halfway() -> type[fedshelf.Strategy]:
    """Return a strategy as a notebook defines it: no import finds it."""

    class Halfway(fedshelf.Strategy):
        uses: ClassVar = frozenset({"weighting", "absent_classes"})
        settings: HalfwaySettings

        def server_step(self, params: Tensor, combined: Tensor, state: Any, trainable: int) -> Any:
            return params + self.settings.step * (combined - params), state

    return Halfway


def test_runs_with_strategies_unknown_here_are_listed_by_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), np.uint8)
    data = {"train": (images, np.arange(40) % 2), "test": (images[:10], np.arange(10) % 2)}
    common = {"stores": 2, "rounds": 1, "progress": False}
    fedshelf.simulate(
        data, **common, strategy=halfway(), strategy_step=0.25, out=tmp_path / "notebook"
    )
    fedshelf.simulate(data, **common, out=tmp_path / "plain")
    written = (tmp_path / "notebook" / "config.toml").read_text()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "config.toml").write_text(
        written.replace("python:Halfway", "mylab.halfway:Halfway")
    )
    # as in another process, which knows none of these objects
    monkeypatch.setattr(own_objects, "_registered", {})
    monkeypatch.setattr(own_objects, "_allowed", {})
    list_runs(tmp_path, "name", as_json=False)
    heading, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading[-3:] == ["strategy.name", "strategy.step", "strategy.kinds"]
    assert [[row[0], *row[-3:-1]] for row in rows[:2]] == [
        ["notebook", "python:Halfway", "0.25"],
        ["package", "mylab.halfway:Halfway", "0.25"],
    ]
    assert rows[2][-3:-1] == ["fedavg", "–"]
    print_difference(tmp_path / "notebook", tmp_path / "plain")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["strategy.step", "0.25", "–"] in lines
    (run,) = [run for run in fedshelf.runs(tmp_path) if run.directory.name == "notebook"]
    assert run.settings["strategy.kinds"] == ("head",)
