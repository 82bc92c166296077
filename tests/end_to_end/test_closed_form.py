"""The head in closed form from real stores in processes of their own; what follows: training, and a
store that is forgotten.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.deployed import free_port, history, summary
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.frozen_backbone import frozen_backbone


@pytest.mark.slow(minutes=1.5)
def test_one_round_equals_the_simulated_one_and_training_goes_on_from_it(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    weights = str(frozen_backbone("niid-cnn", 32)["model__weights"])
    port = free_port()
    for folder in folders.values():
        command.store(folder, port)
    ridge = [
        "--rounds", "1", "--strategy", "ridge", "--weights", weights,
        "--set", "model.freeze=backbone", "--set", "train.lr=0.05",  # the default, as it has none
    ]  # fmt: skip
    server = command.server(tmp_path / "ridge", port, "--stores", "3", *ridge)
    assert server.ends() == 0, server.text
    assert any("nobody looks for swapped labels" in line for line in server.lines)
    told = summary(tmp_path / "ridge")
    (line,) = history(tmp_path / "ridge")
    assert (line["failed"], line["suspicion"], line["standing"]["suspects"]) == ({}, {}, {})
    simulated = command.simulated(tmp_path / "simulated", folders["ost"].parent, *ridge)
    assert told["weights_sha256"] == simulated["weights_sha256"]

    model = tmp_path / "ridge" / "model.safetensors"
    trained = command.server(
        tmp_path / "trained", port, "--stores", "3", "--rounds", "1", "--resume-from", str(model),
        "--set", "run.deliver=last",
    )  # fmt: skip
    assert trained.ends() == 0, trained.text
    before = load_file(model)
    after = load_file(tmp_path / "trained" / "model.safetensors")
    assert before.keys() == after.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    # the model's frozen part stays frozen in a run that goes on from it
    assert len({name.rpartition(".")[0] for name in moved}) == 1
    (line,) = history(tmp_path / "trained")
    assert line["train"]["loss"] < 2

    sums = _sums_of("mitte", tmp_path / "ridge")
    forgotten = command("flower-server", "stores", "forget", "mitte", "--run", tmp_path / "ridge")
    assert forgotten.ends() == 0, forgotten.text
    assert "solved for without mitte, from the sums of 2 stores" in forgotten.text
    without = summary(tmp_path / "ridge")["weights_sha256"]
    assert without != told["weights_sha256"]
    judged = command.server(
        tmp_path / "ridge", port, "--resume", "--stores", "2", "--set", "train.lr=0.05"
    )
    assert judged.ends() == 0, judged.text
    told = summary(tmp_path / "ridge")
    assert (told["status"], told["weights_sha256"]) == ("finished", without)
    assert "mitte" not in told["per_store"]
    for path in (tmp_path / "ridge").rglob("*"):
        assert not path.is_file() or sums not in path.read_bytes(), path


def _sums_of(store: str, run: Path) -> bytes:
    """Return the beginning of a store's sums as they are in a run's files."""
    (checkpoint,) = (run / "checkpoints").glob("round-*.safetensors")
    sums = load_file(checkpoint)[f"strategy.gram/{store}"].numpy().tobytes()[:4096]
    assert sums in checkpoint.read_bytes()
    return sums
