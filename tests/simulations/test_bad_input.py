"""A user's mistake is one clear sentence and an exit code, and nothing is lost."""

import resource
from pathlib import Path

import pytest

from fedshelf.common import command_line
from fedshelf.simulations.main import app
from tests.helpers.commands import call
from tests.helpers.model_files import description_in
from tests.helpers.simulation_command import SMALL, run, run_process, summary

LITTLE = [*SMALL, "--stores", "12", "--fraction", "0.25"]  # three of twelve stores a round

# arguments, exit code, what the sentence must say. TMP is a fresh folder.
CASES = {
    "flag": (["--rundes", "3"], 2, ["No such option '--rundes'", "--rounds"]),
    "flag-type": (["--rounds", "many"], 2, ["'many' is not a valid integer"]),
    "range": (["--lr", "0"], 2, ["train.lr got 0.0", "greater than 0"]),
    "not-a-number": (["--set", "train.lr=nan"], 2, ["train.lr got 'nan'", "finite"]),
    "key": (["--set", "train.lrr=3"], 2, ["'train.lrr'", "Did you mean train.lr?"]),
    "assignment": (["--set", "train.lr"], 2, ["expected KEY=VALUE"]),
    "toml-missing": (["--config", "TMP/none.toml"], 2, ["Cannot read configuration", "none.toml"]),
    "toml-broken": (["--config", "TMP/broken.toml"], 2, ["broken.toml is not valid TOML"]),
    "toml-key": (["--config", "TMP/key.toml"], 2, ["'train.epoch'", "Did you mean train.epochs?"]),
    "dataset-name": (["--dataset", "shelff"], 3, ["'shelff'", "Did you mean shelf?"]),
    "dataset-missing": (
        ["--dataset", "cifar10"],
        3,
        ["cifar10 is not on this machine", "Put its parquet files"],
    ),
    "dataset-empty": (
        ["--dataset", "TMP/empty"],
        3,
        ["No usable image", "one sub-folder per product class"],
    ),
    "dataset-unknown-class": (["--set", "data.classes=box,can"], 3, ["shelf has images of class"]),
    "partition-name": (
        ["--partition", "dirchlet:0.5"],
        2,
        ["'dirchlet:0.5'", "Did you mean dirichlet?"],
    ),
    "partition-value": (["--partition", "dirichlet:-1"], 2, ["ALPHA='-1'", "a number above 0"]),
    "partition-classes": (["--partition", "labels:99"], 2, ["99 classes", "has 10"]),
    "partition-too-many": (
        ["--stores", "100000"],
        2,
        ["4000 training images cannot give 100000 stores"],
    ),
    "model": (["--model", "resnet81"], 2, ["'resnet81'", "did you mean resnet18"]),
    "model-size": (
        ["--model", "inception_v3", "--set", "data.image_size=32"],
        2,
        ["inception_v3 takes images of 75 px or more", "data.image_size is 32"],
    ),
    "weights": (
        ["--set", "model.weights=TMP/none.safetensors"],
        3,
        ["model.weights", "No such file"],
    ),
    "weights-broken": (
        ["--set", "model.weights=TMP/broken.safetensors"],
        3,
        ["broken.safetensors"],
    ),
    "freeze": (
        ["--set", "model.freeze=backbone"],
        2,
        ["model.freeze got 'backbone'", "give model.weights"],
    ),
    "strategy": (["--strategy", "fedavgg"], 2, ["'fedavgg'", "Did you mean fedavg?"]),
    "strategy-setting": (["--set", "strategy.mu=1"], 2, ["fedavg does not use it", "fedprox"]),
    "engine": (["--engine", "turbo"], 2, ["'turbo'", "sequential"]),
    "device": (["--device", "gpu"], 2, ["'gpu'", "auto, cpu, mps, cuda"]),
    "device-absent": (["--device", "cuda:99"], 2, ["'cuda:99' is not on this machine"]),
    "resume-nothing": (["--resume"], 4, ["no run to resume"]),
}


@pytest.mark.parametrize("case", CASES)
def test_one_clear_sentence(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEDSHELF_DATA", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.toml").write_text("[train\n")
    (tmp_path / "key.toml").write_text("[train]\nepoch = 3\n")
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    arguments, code, parts = CASES[case]
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as ended:
        command_line.run(
            app,
            ["run", "--out", str(out), *(word.replace("TMP", str(tmp_path)) for word in arguments)],
        )
    printed = capsys.readouterr()
    assert ended.value.code == code, printed.err
    errors = [line for line in printed.err.splitlines() if line]
    assert len(errors) == 1, printed.err
    assert errors[0].startswith("Error: ")
    for part in parts:
        assert part in errors[0]
    assert not out.exists(), "a run that cannot start leaves nothing behind"


def test_an_existing_run_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(SystemExit) as ended:
        command_line.run(app, ["run", "--out", str(tmp_path)])
    assert ended.value.code == 4
    assert "exists already; use --resume" in capsys.readouterr().err
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


def test_changing_a_running_experiment_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert run("run", *LITTLE, "--rounds", "1", "--out", out).returncode == 0
    before = summary(out)
    with pytest.raises(SystemExit) as ended:
        command_line.run(app, ["run", "--resume", "--out", str(out), "--lr", "0.5"])
    assert ended.value.code == 2
    assert "train.lr got 0.5, but the run in" in capsys.readouterr().err
    assert summary(out) == before


@pytest.mark.slow(minutes=0.3)
def test_a_full_disk_ends_the_run_and_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    whole = tmp_path / "whole"
    assert run("run", *LITTLE, "--rounds", "2", "--out", out).returncode == 0
    assert run("run", *LITTLE, "--rounds", "3", "--out", whole).returncode == 0

    def little_room() -> None:
        # a checkpoint has 250,000 bytes
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    full = run_process("run", "--resume", "--out", out, "--rounds", "3", preexec_fn=little_room)
    assert full.returncode == 1, full.stderr
    assert "The disk is full" in full.stderr
    assert "go on with --resume" in full.stderr
    assert "Traceback" not in full.stderr
    assert run("run", "--resume", "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == summary(whole)["weights_sha256"]
    descriptions = [description_in(each / "model.safetensors") for each in (out, whole)]
    for description in descriptions:
        del description["provenance"]["run_id"], description["provenance"]["made"]
    assert descriptions[0] == descriptions[1]


def test_help_needs_no_torch() -> None:
    shown = run_process("run", "--help", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert shown.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert not imported & {"torch", "numpy", "flwr", "matplotlib", "pydantic"}


def test_help_lists_what_there_is() -> None:
    from fedshelf.common import models, strategies
    from fedshelf.simulations.datasets import DATASETS
    from fedshelf.simulations.engines import ENGINES

    shown = " ".join(call(app, "run", "--help", COLUMNS="400").stdout.split())
    for name in (*strategies.STRATEGIES, *models.names(), *DATASETS, *ENGINES):
        assert name in shown
