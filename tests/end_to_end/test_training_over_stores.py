"""A server and real stores, each a process of its own, from the first command to the model."""

import hashlib
import json
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

from fedshelf.common.config import from_toml, resolve
from tests.helpers.deployed import free_port, history, processes_of, summary
from tests.helpers.deployment_fixtures import Starter


def test_stores_with_different_classes_train_one_model(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    port = free_port()
    names = tmp_path / "names.csv"
    names.write_text("folder,name\nboot,Gummistiefel\nbag,Tasche\n", encoding="utf-8")
    stores = {name: command.store(folder, port) for name, folder in folders.items()}
    server = command.server(out, port, "--stores", "3", "--rounds", "2", "--class-names", names)
    assert server.ends() == 0, server.text

    assert next(line for line in server.lines if line.startswith("3 classes: ")).startswith(
        "3 classes: Gummistiefel"
    )
    assert (
        "--class-names has lines for folders that are no class of the run: 'bag'." in server.lines
    )
    assert json.loads((out / "model.json").read_text())["class_names"] == [
        "Gummistiefel",
        "hat",
        "shirt",
    ]
    assert (
        f"flower-client join --server 127.0.0.1:{port} --data FOLDER --name NAME --insecure"
        in server.lines
    )
    assert [line.split()[0] for line in server.lines if line.startswith("round=")] == [
        "round=1/2",
        "round=2/2",
    ]
    assert server.lines[-1] == f"Model: {out}/model.safetensors"
    assert processes_of(out) == []

    told = summary(out)
    rounds = history(out)
    assert (told["status"], told["rounds"], told["stores"]) == ("finished", 2, 3)
    assert [sorted(record["stores"]) for record in rounds] == [["mitte", "ost", "süd 2"]] * 2
    assert [record["failed"] for record in rounds] == [{}, {}]
    assert json.loads((out / "model.json").read_text())["classes"] == ["boot", "hat", "shirt"]
    assert load_file(out / "model.safetensors")
    judged = json.loads((out / "evaluation.json").read_text())
    assert sorted(judged["stores"]) == ["mitte", "ost", "süd 2"]
    together = np.sum([store["confusion"] for store in judged["stores"].values()], axis=0).tolist()
    assert together == judged["together"]["confusion"] == told["test"]["confusion"]
    assert told["calibration"]["images"] == told["test"]["images"] == np.sum(together)
    assert json.loads((out / "model.json").read_text())["temperature"] == (
        told["calibration"]["temperature"] or 1.0  # of so few validation images none is fitted
    )
    held = json.loads((out / "partition.json").read_text())
    assert held["classes"] == ["boot", "hat", "shirt"]
    assert [number > 0 for number in held["stores"]["mitte"]] == [True, True, False]
    config = resolve(from_toml(out / "config.toml"))
    assert (config.data.classes, config.cohort.min_stores) == (("boot", "hat", "shirt"), 3)

    names.write_text("boot,Stiefel\n", encoding="utf-8")
    again = command.server(out, port, "--class-names", names)
    assert again.ends() == 0, again.text
    assert (
        again.lines[-1]
        == f"Its classes have the names asked for, in {out}/report.html and model.json."
    )
    assert json.loads((out / "model.json").read_text())["class_names"] == [
        "Stiefel",
        "hat",
        "shirt",
    ]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert ("Stiefel" in page, "Gummistiefel" in page, ">boot<" in page) == (True, False, False)
    # the names are in the model's file, too
    renamed = hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest()
    assert renamed != told["model_sha256"]
    assert summary(out) == told | {"model_sha256": renamed}

    for store in stores.values():
        store.says("Round 2: trained on")
        store.says("From the server: The training is over: finished after 2 rounds.")
        store.interrupt()
        assert store.ends() == 0
        assert store.lines[-1].endswith(" Left.")
        assert "Traceback" not in store.text
