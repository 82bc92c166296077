"""Every command that reads a data set, or a run of own objects, with objects of one's own."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fedshelf
from fedshelf.client.main import app as client
from fedshelf.common import own_objects
from fedshelf.common.errors import ConfigError
from fedshelf.common.release.keys import make_key
from fedshelf.server.main import app as server
from tests.helpers.commands import call
from tests.helpers.simulation_command import run

MODULE = """
import numpy as np
import torch
from torch import nn
import fedshelf

def shades(images):
    labels = np.arange(images) % 2
    noise = np.random.default_rng(images).integers(0, 128, (images, 8, 8, 3))
    return (noise + 127 * labels[:, None, None, None]).astype(np.uint8), labels

data = {"train": shades(60), "validation": shades(20), "test": shades(30)}

def halves(labels, stores, rng):
    return np.array_split(rng.permutation(len(labels)), stores)

def fade(pixels, numbers):
    return pixels * (1 - 0.5 * numbers[:, 0, None, None, None].float())

class Nearly(fedshelf.Strategy):
    uses = frozenset({"weighting", "absent_classes"})

    def server_step(self, params, combined, state, trainable):
        return torch.lerp(params, combined, 0.9), state

class Softmax(nn.Module):
    def __init__(self, num_classes, image_size=8):
        super().__init__()
        self.head = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images):
        return self.head(images.flatten(1))
"""
pytestmark = pytest.mark.usefixtures("lab")

DATA = ["--dataset", "shades_lab:data", "--stores", "2", "--partition", "shades_lab:halves"]
RUN = [
    *DATA, "--model", "shades_lab:Softmax", "--strategy", "shades_lab:Nearly",
    "--set", "data.augmentation=shades_lab:fade",
]  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current folder, with a module of one's own and a run of its objects in `own`."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "shades_lab.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        done = run("run", *RUN, "--rounds", "2", "--lr", "0.1", "--out", "own")
        assert done.returncode == 0, done.stderr
        yield folder
    sys.modules.pop("shades_lab", None)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each command begin as in a process of its own, which knows no objects yet."""
    monkeypatch.setattr(own_objects, "_allowed", {})
    monkeypatch.setattr(own_objects, "_registered", {})


def test_split_deals_an_own_data_set_by_an_own_partition(lab: Path) -> None:
    done = run("split", *DATA, "--test", "--out", "shops")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (lab / "shops").iterdir() if path.is_dir()) == [
        "store-0", "store-1", "test",
    ]  # fmt: skip
    assert len(list((lab / "shops").rglob("*.png"))) == 60 + 20 + 30


@pytest.mark.slow(minutes=0.2)
def test_reveal_attacks_updates_of_own_objects(lab: Path) -> None:
    done = run("reveal", *RUN, "--images", "8", "--epochs", "1", "--out", "revealed")
    assert done.returncode == 0, done.stderr
    told = json.loads((lab / "revealed" / "reveal.json").read_text())
    assert told["settings"]["model.name"] == "shades_lab:Softmax"
    assert told["images"] == 8


def test_reveal_checks_an_own_network_as_a_run_does() -> None:
    done = run("reveal", *DATA, "--model", "shades_lab:shades", "--images", "8", "--out", "not")
    assert done.returncode == 2
    assert "The model shades_lab:shades" in done.stderr


@pytest.mark.parametrize("command", ["reveal", "run"])
def test_a_run_that_is_gone_on_from_names_no_code(command: str) -> None:
    done = run(command, "--resume-from", "own", *DATA, "--out", "not")
    assert done.returncode == 2
    assert "name it in the settings (model.name=shades_lab:Softmax)" in done.stderr


def test_a_round_of_an_own_run_is_exported_and_ensembles_take_own_data(lab: Path) -> None:
    done = run("export", "own", "--round", "1", "--out", "first")
    assert done.returncode == 0, done.stderr
    assert (lab / "first" / "model.safetensors").is_file()
    own_objects._allowed.clear()
    done = run("ensemble", "own", "first", "--dataset", "shades_lab:data", "--out", "both")
    assert done.returncode == 2
    assert "The model shades_lab:Softmax is code of its own" in done.stderr
    named = ["--set", "model.name=shades_lab:Softmax"]
    done = run("ensemble", "own", "first", "--dataset", "shades_lab:data", *named, "--out", "both")
    assert done.returncode == 0, done.stderr


def test_a_servers_command_imports_what_is_installed_alone() -> None:
    sys.path[:] = [place for place in sys.path if place != str(Path.cwd())]
    sys.modules.pop("shades_lab", None)
    done = call(server, "export", "own", "--round", "1", "--out", "second")
    assert done.returncode == 2
    assert "shades_lab must be installed" in done.stderr


def test_a_release_of_an_own_network_is_used_without_its_code(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(lab / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(lab / "state"))
    Image.fromarray(np.full((8, 8, 3), 220, np.uint8)).save(lab / "light.png")
    done = call(client, "classify", "own", "light.png")
    assert done.returncode == 2
    assert "a release of the run (flower-server release)" in done.stderr
    make_key(lab / "key")
    monkeypatch.syspath_prepend(lab)  # as if it were installed
    done = call(server, "release", "own", "--key", lab / "key", "--out", "released")
    assert done.returncode == 0, done.stderr
    own_objects._allowed.clear()
    assert call(client, "pin-release-key", lab / "key.pub").returncode == 0
    done = call(client, "classify", "released", "light.png")
    assert done.returncode == 0, done.stderr
    assert "light.png: 1 " in done.stdout
    done = call(server, "push", "released", "hf:lab/shades", "--to", "hub")
    assert done.returncode == 0, done.stderr
    card = (lab / "hub" / "README.md").read_text()
    assert "pipeline_tag" not in card, "nobody here knows the task of a network without its code"


def test_a_store_judges_its_labels_by_an_own_network_that_its_policy_lists(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(lab / "home"))
    for label, shade in (("0", 20), ("1", 220)):
        (lab / "store" / label).mkdir(parents=True)
        for number in range(12):
            pixels = np.full((8, 8, 3), shade + number, np.uint8)
            Image.fromarray(pixels).save(lab / "store" / label / f"{number}.png")
    check = ["check", "--data", "store", "--model", "own"]
    done = call(client, *check)
    assert done.returncode == 2
    assert "The model shades_lab:Softmax is code of its own" in done.stderr
    (lab / "policy.toml").write_text('models = ["shades_lab:Softmax"]\n')
    monkeypatch.syspath_prepend(lab)  # as if it were installed
    done = call(client, *check, "--policy", "policy.toml")
    assert done.stderr == ""
    assert done.returncode in (0, 1), done.stdout


def test_a_network_given_to_load_is_that_of_the_model() -> None:
    from importlib import import_module

    module = import_module("shades_lab")
    model = fedshelf.load("own", network=module.Softmax)
    assert model.predict([np.full((8, 8, 3), 220, np.uint8)])[0].label == "1"
    own_objects._registered.clear()
    trained = fedshelf.simulate(
        module.data, 2, model=module.Softmax(2), rounds=1, out="given", progress=False
    )
    assert trained.settings["model.name"] == "python:Softmax"
    own_objects._registered.clear()
    assert fedshelf.load("given", network=module.Softmax).classes == ("0", "1")
    with pytest.raises(ConfigError, match=r"got shades_lab:fade, but the network of own is shades"):
        fedshelf.load("own", network=module.fade)


@pytest.mark.slow(minutes=0.2)
def test_a_list_of_own_networks_is_swept_by_their_names() -> None:
    from importlib import import_module

    module = import_module("shades_lab")
    study = fedshelf.sweep(
        "shades_lab:data", 2, model=["cnn", module.Softmax], rounds=1, jobs=1, out="swept",
        progress=False,
    )  # fmt: skip
    labels = [point["label"] for point in study.results["points"]]
    assert labels == ["model.name=cnn", "model.name=shades_lab:Softmax"]
    local = type("Local", (module.Softmax,), {})
    with pytest.raises(ConfigError, match="python:Local is an object that only this program has"):
        fedshelf.sweep("shades_lab:data", 2, model=["cnn", local], progress=False)
