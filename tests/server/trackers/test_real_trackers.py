"""Runs that are tracked by the real things: MLflow's server, and files of Weights & Biases."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import wandb_files
from tests.helpers.deployed import free_port
from tests.helpers.mlflow_server import mlflow_server
from tests.helpers.simulation_command import SMALL, history, run_process, summary

RESUME = ("--resume", "--out")


def tracked(out: Path, track: str, *options: str, **environment: str) -> str:
    """Train two rounds, or go on with `options`; give what the person was told."""
    new = [*SMALL, "--rounds", "2", "--out", str(out)]
    arguments = ["run", *(options or new), "--set", f"run.track={track}"]
    done = run_process(*arguments, env={"NETRC": "/nowhere", **environment})
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout + done.stderr


def state(out: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "trackers.json").read_text())[name]
    return found


@pytest.mark.slow(minutes=2)
def test_an_mlflow_server_shows_a_run_and_its_resume(tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    out = tmp_path / "run"
    with mlflow_server(tmp_path) as address:
        told = tracked(out, "mlflow", MLFLOW_TRACKING_URI=address)
        assert f"MLflow logs to {address}." in told
        begun = state(out, "mlflow")
        tracked(out, "mlflow", *RESUME, str(out), "--rounds", "4", MLFLOW_TRACKING_URI=address)
        assert state(out, "mlflow") == {"id": begun["id"], "round": 4}
        client = MlflowClient(address)
        run = client.get_run(begun["id"])
        assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
        assert (run.data.params["run.rounds"], run.data.tags["run.rounds"]) == ("2", "4")
        assert run.data.params["train.lr"] == "0.05"
        lines = history(out)
        for curve, values in {
            "test/accuracy": [line["test"]["accuracy"] for line in lines],
            "train/stores/store-1/loss": [line["stores"]["store-1"]["loss"] for line in lines],
        }.items():
            logged = client.get_metric_history(begun["id"], curve)
            assert sorted((metric.step, metric.value) for metric in logged) == [
                (number, pytest.approx(value)) for number, value in enumerate(values, start=1)
            ]
        delivered = run.data.metrics["delivered/test/accuracy"]
        assert delivered == pytest.approx(summary(out)["test"]["accuracy"])
        names = {file.path for file in client.list_artifacts(begun["id"])}
        assert {"report.html", "model.safetensors", "model.json", "config.toml"} < names
        fetched = client.download_artifacts(begun["id"], "model.safetensors", str(tmp_path))
        assert Path(fetched).read_bytes() == (out / "model.safetensors").read_bytes()


@pytest.mark.slow(minutes=0.5)
def test_a_run_goes_on_without_an_mlflow_server(tmp_path: Path) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    told = " ".join(tracked(tmp_path / "run", "mlflow", MLFLOW_TRACKING_URI=address).split())
    assert told.count("MLflow failed (") == 1
    assert "rounds from 1 on, report and model are not logged there; the run goes on." in told
    assert summary(tmp_path / "run")["rounds"] == 2


@pytest.mark.slow(minutes=1)
def test_offline_files_of_wandb_hold_a_run_and_its_resume(tmp_path: Path) -> None:
    out = tmp_path / "run"
    tracked(out, "wandb", WANDB_MODE="offline")
    tracked(out, "wandb", *RESUME, str(out), "--rounds", "4", WANDB_MODE="offline")
    files = sorted(out.glob("wandb/offline-run-*/*.wandb"))
    assert [file.stem for file in files] == [f"run-{(out / 'run-id').read_text()}"] * 2
    logged = [line for file in files for line in wandb_files.history(file) if "round" in line]
    assert [(line["round"], line["test/accuracy"]) for line in logged] == [
        (line["round"], pytest.approx(line["test"]["accuracy"])) for line in history(out)
    ]
    assert logged[0]["train/stores/store-1/loss"] > 0
    messages = [record for file in files for record in wandb_files.records(file)]
    settings = {
        update.key: json.loads(update.value_json)
        for record in messages
        for update in record.run.config.update
    }
    assert (settings["train.lr"], settings["run.rounds"]) == (0.05, 4)
    artifacts = [record.request.log_artifact.artifact for record in messages]
    artifacts += [record.artifact for record in messages]
    kept = {entry.path for artifact in artifacts for entry in artifact.manifest.contents}
    assert {"report.html", "model.safetensors", "summary.json"} <= kept
    everything = b"".join(file.read_bytes() for file in files)
    assert b"requirements.txt" not in everything


@pytest.mark.slow(minutes=0.5)
def test_wandb_writes_files_where_there_is_a_login_and_no_network(tmp_path: Path) -> None:
    out = tmp_path / "run"
    nowhere = f"http://127.0.0.1:{free_port()}"
    told = tracked(out, "wandb", WANDB_API_KEY="0123456789" * 4, WANDB_BASE_URL=nowhere)
    assert "which `wandb sync` sends." in " ".join(told.split())
    (file,) = out.glob("wandb/offline-run-*/*.wandb")
    assert [line["round"] for line in wandb_files.history(file) if "round" in line] == [1, 2]
