"""A store that is forgotten: the model is that of a run without it, and all that tells of it is
gone or says so.
"""

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.server.formatting import describe_outcome
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.operations.forget_store import forget_store
from fedshelf.server.results.checkpoints import Checkpoints
from fedshelf.server.results.given_models import GivenModels
from fedshelf.server.results.past_rounds import export_round
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.training.run import StopRequest, Training
from fedshelf.simulations.engines.sequential import SequentialEngine
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.by_hand import Notes
from tests.helpers.frozen_backbone import closed_form
from tests.helpers.simulated_stores import federation, settings, start

SIZES = (13, 6, 9)


def config_of(strategy: str = "ridge", **changed: object) -> RunConfig:
    own = closed_form(strategy) if strategy in ("ridge", "prototypes") else {}
    usual = {"data__dataset": STORES_OWN, "run__workers": 1, "run__deliver": "last"}
    return settings(**{**own, **usual, **changed})


def without(dealt: Federation, store: str) -> Federation:
    """The same stores but one."""
    stores = {name: data for name, data in dealt.stores.items() if name != store}
    return replace(dealt, stores=stores, table={name: dealt.table[name] for name in stores})


def played(place: Path, dealt: Federation, config: RunConfig) -> Mapping[str, Any]:
    """Play a run to its end, or what is left of it, and return its summary."""
    begun = start(config)
    with (
        closing(RunDirectory.open(place, begun.plan.config)) as directory,
        closing(SequentialEngine(dealt, begun, place / "stores")) as engine,
    ):
        begun = begun.identified(directory.run_id())
        return Training(begun, engine, Notes(), directory, 0.0).run(StopRequest(Notes()))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("strategy", ["ridge", "prototypes"])
def test_the_model_is_the_one_of_a_run_without_the_store(tmp_path: Path, strategy: str) -> None:
    """It is already when nobody has judged it yet."""
    dealt = federation(SIZES)
    run, other = tmp_path / "run", tmp_path / "other"
    with_all = played(run, dealt, config_of(strategy, run__rounds=2))
    expected = played(other, without(dealt, "store-1"), config_of(strategy))
    assert with_all["weights_sha256"] != expected["weights_sha256"]

    forget_store(run, "store-1")
    told = read(run / "summary.json")
    assert told["weights_sha256"] == expected["weights_sha256"]
    found = load_file(run / "model.safetensors")
    for name, tensor in load_file(other / "model.safetensors").items():
        assert torch.equal(found[name], tensor)
    assert (told["status"], told["test"], told["per_store"]) == ("stopped", None, None)
    assert "store-1" in told["set_aside"]
    described = read(run / "model.json")
    assert (described["temperature"], described["provenance"]["test"]) == (1.0, None)
    assert read(run / "model.json")["sha256"] == told["model_sha256"]

    again = played(run, dealt, config_of(strategy, run__rounds=2))
    assert (again["status"], again["weights_sha256"]) == ("finished", told["weights_sha256"])
    assert again["test"]["accuracy"] == expected["test"]["accuracy"]
    assert again["calibration"] == expected["calibration"]
    assert again["per_store"].keys() == {"store-2"}  # store-0 holds nothing out
    assert again["forgotten"].keys() == {"store-1"}
    assert any("has nothing of store-1 (2" in line for line in describe_outcome(again))


def test_nothing_of_the_store_is_left_to_go_on_from(tmp_path: Path) -> None:
    run = tmp_path / "run"
    dealt = federation(SIZES)
    played(run, dealt, config_of(run__rounds=3))
    before = (run / "history.jsonl").read_text().splitlines()
    forget_store(run, "store-1")
    checkpoints = Checkpoints(run / "checkpoints", keep=9)
    assert checkpoints.rounds() == [3]
    state = checkpoints.load(3)
    assert not [name for name in state.strategy if name.endswith("store-1")]
    assert state.best is None
    *earlier, last = (run / "history.jsonl").read_text().splitlines()
    assert earlier == before[:2]
    assert json.loads(last)["forgotten"].keys() == {"store-1"}
    assert json.loads(last)["validation"] is None
    assert before[2] in (run / "taken-back.jsonl").read_text()
    # a further round does not ask it again
    played(run, dealt, config_of(run__rounds=4))
    record = json.loads((run / "history.jsonl").read_text().splitlines()[-1])
    assert (record["round"], record["sampled"]) == (4, ["store-0", "store-2"])


def test_a_model_that_stores_have_is_recalled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    played(run, federation(SIZES), config_of())
    with closing(RunDirectory.open(run, config_of())) as directory:
        given = GivenModels(directory)
        given.note("of the model", 1, {"store-0"})
        assert given.taken_back() == []
    forget_store(run, "store-1")
    (recalled,) = read(run / "given.json")["models"]
    assert (recalled["stores"], recalled["is_taken_back"]) == (["store-0"], True)
    assert "The model before it is still at store-0." in capsys.readouterr().out


def test_a_command_that_was_killed_is_finished_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the checkpoint, before the model: the old one is still there."""
    run = tmp_path / "run"
    played(run, federation(SIZES), config_of())
    old = {path: path.read_bytes() for path in (run / "model.safetensors", run / "summary.json")}
    forget_store(run, "store-1")
    sha = read(run / "summary.json")["weights_sha256"]
    for path, content in old.items():
        path.write_bytes(content)
    forget_store(run, "store-1")
    assert read(run / "summary.json")["weights_sha256"] == sha
    export_round(run, "last", None)
    forget_store(run, "store-2")
    assert read(run / "summary.json")["forgotten"].keys() == {"store-1", "store-2"}
    written = capsys.readouterr().out
    assert "from the sums of 2 stores: store-0 and store-2." in written
    assert f"exported before have the store in them: {run}/round-1/model.safetensors." in written


def test_what_cannot_be_forgotten_is_refused(tmp_path: Path) -> None:
    dealt = federation(SIZES)
    trained = tmp_path / "trained"
    played(trained, dealt, config_of("fedavg", run__rounds=1))
    with pytest.raises(
        ConfigError, match=r"strategy fedavg, which trains weights.* train a new run"
    ):
        forget_store(trained, "store-1")
    run = tmp_path / "run"
    played(run, dealt, config_of())
    files = {path: path.read_bytes() for path in sorted(run.rglob("*")) if path.is_file()}
    with pytest.raises(RunError, match=r"no sums of oslo; it has those of store-0, store-1"):
        forget_store(run, "oslo")
    with (
        RunMailbox(run).open(0.0),
        pytest.raises(RunError, match="end it first: flower-server stop"),
    ):
        forget_store(run, "store-1")
    kept = {path: path.read_bytes() for path in files}
    assert kept == files
    forget_store(run, "store-0")
    forget_store(run, "store-1")
    with pytest.raises(RunError, match="sums of store-2 alone, and no model is left"):
        forget_store(run, "store-2")
