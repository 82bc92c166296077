"""The run directory: one owner, one meaning, nothing lost."""

from contextlib import closing
from pathlib import Path

import pytest

from fedshelf.common.config import own_settings, resolve
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.server.results.run_directory import RunDirectory, free_name


def record(round: int) -> dict:
    return {"round": round, "train": {"loss": 0.5}}


def test_configuration_survives(tmp_path: Path) -> None:
    config = resolve({"train.lr": 0.3, "data.classes": ["Käse", "milk"]})
    RunDirectory.open(tmp_path / "x", config).close()
    assert RunDirectory.stored(tmp_path / "x", {}) == config
    assert RunDirectory.read_config(tmp_path / "x") == config


def test_a_reader_refuses_settings_that_no_run_can_have(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, resolve({"strategy.name": "fedprox"})).close()
    config = tmp_path / "config.toml"
    written = config.read_text()
    config.write_text(written.replace("[strategy]", "[strategy]\nlag = 0.5"))
    with pytest.raises(ConfigError, match=r"Unknown setting 'strategy\.lag'"):
        RunDirectory.read_config(tmp_path)
    config.write_text(written.replace("mu = 0.01", "mu = -1.0"))
    with pytest.raises(ConfigError, match=r"Setting strategy\.mu got -1\.0"):
        RunDirectory.read_config(tmp_path)


def test_what_was_derived_stays_so_when_a_run_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    settled = resolve({"data.classes": ["milk", "tea"], "run.device": "cpu"})
    RunDirectory.open(tmp_path, resolve({"train.lr": 0.3}), {"train.lr": "0.3"}).close()
    # as resumed, with nothing asked for
    with closing(RunDirectory.open(tmp_path, settled)) as directory:
        directory.settle(settled)
    assert own_settings(path) == {
        "data.classes": ["milk", "tea"], "run.device": "cpu", "run.name": "", "run.out": "",
    }  # fmt: skip
    RunDirectory.open(tmp_path, settled, {"run.device": "cpu"}).close()
    assert own_settings(path).keys() == {"data.classes", "run.name", "run.out"}


def test_what_was_asked_for_is_not_derived(tmp_path: Path) -> None:
    config = resolve({"data.classes": ["milk", "tea"], "run.device": "cpu"})
    RunDirectory.open(tmp_path, config, {"data.classes": "milk,tea", "run.device": "auto"}).close()
    assert own_settings(tmp_path / "config.toml").keys() == {"run.device", "run.name", "run.out"}


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(RunError, match="exists already; use --resume"):
        RunDirectory.check_new(tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        RunDirectory.stored(tmp_path / "nowhere", {})


def test_what_is_done_cannot_be_changed_but_more_rounds_can(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, resolve({"train.lr": 0.3, "run.rounds": 5})).close()
    with pytest.raises(ConfigError, match=r"train\.lr got 0\.1, but the run in .* has 0\.3"):
        RunDirectory.stored(tmp_path, {"train.lr": "0.1"})
    assert RunDirectory.stored(tmp_path, {"run.rounds": 9, "train.lr": 0.3}).run.rounds == 9
    fewer = RunDirectory.stored(
        tmp_path, {"cohort.min_stores": 2, "cohort.wait": 60, "evaluation.every": 5}
    )
    assert (fewer.cohort.min_stores, fewer.cohort.wait, fewer.evaluation.every) == (2, 60, 5)


def test_a_run_of_an_earlier_version_keeps_its_split(tmp_path: Path) -> None:
    RunDirectory.open(tmp_path, resolve()).close()
    assert RunDirectory.stored(tmp_path, {}).data.split == "class"
    written = (tmp_path / "config.toml").read_text().replace('split = "class"\n', "")
    (tmp_path / "config.toml").write_text(written)  # as a version that knew one rule only left it
    assert RunDirectory.stored(tmp_path, {}).data.split == "hash"
    with pytest.raises(ConfigError, match=r"data\.split got 'class', but the run in .* has 'hash'"):
        RunDirectory.stored(tmp_path, {"data.split": "class"})
    RunDirectory.open(tmp_path, RunDirectory.stored(tmp_path, {})).close()
    assert RunDirectory.stored(tmp_path, {}).data.split == "hash"


@pytest.mark.parametrize(("old", "expected"), [("true", "exclude"), ("false", "report")])
def test_a_run_of_an_earlier_version_does_with_suspects_what_it_did(
    tmp_path: Path, old: str, expected: str
) -> None:
    RunDirectory.open(tmp_path, resolve()).close()
    written = (tmp_path / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(
        written.replace('suspects = "report"', f"exclude_suspects = {old}")
    )
    assert RunDirectory.stored(tmp_path, {}).screening.suspects == expected
    assert (
        RunDirectory.stored(tmp_path, {"screening.suspects": "clip"}).screening.suspects == "clip"
    )


def test_two_processes_cannot_share_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedshelf.server.results.run_directory.RUN_LOCK_TIMEOUT_SECONDS", 0.1)
    with (
        closing(RunDirectory.open(tmp_path, resolve())),
        pytest.raises(RunError, match="Another process is training"),
    ):
        RunDirectory.open(tmp_path, resolve())
    RunDirectory.open(tmp_path, resolve()).close()


def test_history_follows_the_checkpoint(tmp_path: Path) -> None:
    directory = RunDirectory.open(tmp_path, resolve())
    for round in (1, 2, 3):
        directory.append(record(round))
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"round": 4, "tra')  # killed while writing
    assert [r["round"] for r in directory.history()] == [1, 2, 3]
    assert [r["round"] for r in directory.mend_history(record(2))] == [1, 2]
    assert [r["round"] for r in directory.mend_history(record(3))] == [1, 2, 3]
    assert directory.mend_history(None) == []


def test_a_run_keeps_its_identity(tmp_path: Path) -> None:
    first = RunDirectory.open(tmp_path, resolve())
    identity = first.run_id()
    first.close()
    assert RunDirectory.open(tmp_path, resolve()).run_id() == identity


def test_free_names_count_up(tmp_path: Path) -> None:
    assert free_name(tmp_path / "demo") == tmp_path / "demo"
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert free_name(tmp_path / "demo") == tmp_path / "demo-3"
