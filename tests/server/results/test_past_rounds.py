"""Models of any round that has a checkpoint: the right weights, and no figure of another round."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.protocol.messages import Plan
from fedshelf.server.operations.export import export
from fedshelf.server.results import plan_file
from fedshelf.server.results.checkpoints import Best, Checkpoints, TrainingState
from fedshelf.server.results.model_export import weights_sha256
from fedshelf.server.results.past_rounds import export_round
from fedshelf.server.results.plan_file import SavedPlan
from tests.helpers.model_files import description_beside, description_in
from tests.helpers.past_run import TEST, filling, run_of, start_of


def described(folder: Path) -> Mapping[str, Any]:
    loaded: Mapping[str, Any] = json.loads((folder / "model.json").read_text())
    return loaded


@pytest.mark.parametrize(
    ("which", "number", "because"),
    [
        ("2", 2, "asked for by its number"),
        ("best", 4, "the best by accuracy on the stores' validation images"),
        ("last", 5, "the last that was saved"),
    ],
)
def test_each_round_has_its_own_weights_and_figures(
    tmp_path: Path, which: str, number: int, because: str
) -> None:
    run = run_of(tmp_path / "run", start_of(), Best(4, 0.9, 0.9, "validation"))
    found = export_round(run, which, None)
    assert (found.path, found.round, found.rounds) == (
        run / f"round-{number}" / "model.safetensors",
        number,
        5,
    )
    assert filling(found.path.parent) == {float(number)}
    assert description_in(found.path) == description_beside(found.path)
    told = described(found.path.parent)
    assert (told["temperature"], told["classes"]) == (1.0, ["boot", "hat"])
    provenance = told["provenance"]
    assert (provenance["round"], provenance["rounds"], provenance["delivered_because"]) == (
        number,
        5,
        because,
    )
    assert provenance["test"] == (
        {"accuracy": 0.5, "macro_f1": 0.4, "loss": 1.5, "on": "server"} if number == 4 else None
    )
    assert found.test == (0.5 if number == 4 else None)


def test_only_the_delivered_round_has_the_figures_of_the_outcome(tmp_path: Path) -> None:
    start = start_of()
    run = run_of(tmp_path / "run", start)
    summary = {
        "delivered_round": 5,
        "rounds": 5,
        "test": TEST | {"accuracy": 0.25, "on": "stores"},
        "stores": 3,
        "calibration": {"temperature": 1.25, "energy_threshold": 2.5},
        "resumed_from": None,
        "personal": [],
        "weights_sha256": weights_sha256(
            start.plan, TrainingState(5, torch.full_like(start.params, 5.0), {})
        ),
    }
    (run / "summary.json").write_text(json.dumps(summary))
    delivered = export_round(run, "5", None)
    other = export_round(run, "4", None)
    assert (delivered.test, delivered.is_calibrated) == (0.25, True)
    assert (other.test, other.is_calibrated) == (0.5, False)
    assert [
        (told["temperature"], told["energy_threshold"])
        for told in (described(delivered.path.parent), described(other.path.parent))
    ] == [(1.25, 2.5), (1.0, None)]
    (run / "summary.json").write_text(
        json.dumps(summary | {"weights_sha256": "of an earlier run's round 5"})
    )
    assert export_round(run, "5", tmp_path / "again").test is None


def test_the_mean_of_rounds_is_exported_where_it_is_what_was_judged(tmp_path: Path) -> None:
    start = start_of(strategy__average="ema")
    run = run_of(tmp_path / "run", start)
    state = TrainingState(
        6, start.params, {}, average=torch.full_like(start.params, 0.5), averaged=2
    )
    Checkpoints(run / "checkpoints", keep=9).save(state)
    assert filling(export_round(run, "last", None).path.parent) == {0.5}


def test_a_frozen_part_is_in_the_model(tmp_path: Path) -> None:
    start = start_of()
    plan = Plan("run", start.plan.config, start.plan.spec, torch.tensor([1.0, 2.0]))
    plan_file.write(tmp_path, SavedPlan(plan, {"round": 3}))
    back = plan_file.read(tmp_path, plan.config)
    assert (back.plan.run_id, back.plan.spec, back.resumed_from) == ("run", plan.spec, {"round": 3})
    assert back.plan.frozen is not None
    assert back.plan.frozen.tolist() == [1.0, 2.0]


def test_what_is_not_there_is_refused_with_what_is(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", start_of())
    with pytest.raises(
        RunError, match=r"no checkpoint of round 3 in .*; those that are there: 2, 4, 5\."
    ):
        export_round(run, "3", None)
    with pytest.raises(RunError, match="none of this run was judged; give a number, or last"):
        export_round(run, "best", None)
    with pytest.raises(
        ConfigError, match="Got the round '-1'; expected the number of a round, best or last"
    ):
        export_round(run, "-1", None)
    with pytest.raises(RunError, match=r"There is no run in .*elsewhere \(no config.toml\)"):
        export_round(tmp_path / "elsewhere", "1", None)
    (tmp_path / "both" / "federated").mkdir(parents=True)
    with pytest.raises(
        RunError, match=r"holds a comparison: name one of its runs, such as .*federated"
    ):
        export_round(tmp_path / "both", "1", None)
    with pytest.raises(RunError, match=r"There is no checkpoint in .*: no round was saved yet"):
        export_round(run_of(tmp_path / "new", start_of(), rounds=()), "last", None)
    (run / "checkpoints" / plan_file.PLAN_FILE).unlink()
    with pytest.raises(
        RunError, match=r"an earlier version made them\. Continue the run with --resume"
    ):
        export_round(run, "2", None)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", start_of())
    for folder in (run, tmp_path / "taken"):
        folder.mkdir(exist_ok=True)
        (folder / "note.txt").write_text("mine")
        with pytest.raises(
            ConfigError, match="exists already and is not empty; name a new folder with --out"
        ):
            export_round(run, "2", folder)
        assert not (folder / "model.json").exists()
    export_round(run, "2", None)
    with pytest.raises(ConfigError, match="round-2 exists already"):
        export_round(run, "2", None)


def test_where_stores_keep_layers_only_rounds_that_they_remember_make_a_model(
    tmp_path: Path,
) -> None:
    run = run_of(
        tmp_path / "run", start_of(strategy__name="fedper"), Best(2, 0.9, 0.9, "validation")
    )
    with pytest.raises(
        RunError, match=r"their own parts of the best round \(2\) and of the last \(5\) only"
    ):
        export_round(run, "4", None)
    for which in ("best", "last"):
        assert described(export_round(run, which, None).path.parent)["provenance"]["personal"]


def test_a_best_round_that_was_chosen_on_test_images_says_so(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", start_of(), Best(4, 0.5, 0.5, "test"))
    because = export_round(run, "best", None).because
    assert because == "the best by accuracy on test images, which flatters its test figure"


def test_a_run_is_found_by_its_name_whatever_else_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(tmp_path / "runs" / "spring", start_of())
    (tmp_path / "spring").mkdir()  # no run
    monkeypatch.chdir(tmp_path)
    export(Path("spring"), "last", None)
    assert filling(tmp_path / "runs" / "spring" / "round-5") == {5.0}
    with pytest.raises(RunError, match=r"There is no run in autumn: it has no config\.toml"):
        export(Path("autumn"), "last", None)
