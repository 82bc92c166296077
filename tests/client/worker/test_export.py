"""`flower-client export`: a store's own model, of the chain's and of what never left the store."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedshelf.common.models import saved
from fedshelf.common.training.predict import load
from tests.helpers.client_command import refused
from tests.helpers.client_command import run as client
from tests.helpers.model_files import description_beside, description_in
from tests.helpers.simulation_command import SMALL, run, summary


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of FedPer, and a store's home with what the store kept of it."""
    place = tmp_path_factory.mktemp("trained")
    settings = ["--set", "data.holdout=0.2", "--strategy", "fedper", "--rounds", "3"]
    done = run("run", *SMALL, *settings, "--out", place / "run")
    assert done.returncode == 0, done.stderr
    shutil.copytree(place / "run" / "stores", place / "home" / "stores" / "store-1" / "states")
    return place


def test_a_stores_own_model_has_the_chains_backbone_and_its_own_head(
    trained: Path, tmp_path: Path
) -> None:
    done = client(
        trained / "home",
        "export",
        str(trained / "run"),
        "--name",
        "store-1",
        "--out",
        str(tmp_path / "own"),
    )
    assert done.returncode == 0, done.stderr
    told = summary(trained / "run")
    shared = load_file(trained / "run" / "model.safetensors")
    assert told["personal"] == ["11.weight", "11.bias"]
    own = load_file(tmp_path / "own" / "model.safetensors")
    for name in shared:
        assert torch.equal(own[name], shared[name]) == (name not in told["personal"]), name
    (run_states,) = (trained / "run" / "stores").iterdir()
    kept = load_file(run_states / "store-1" / f"round-{told['delivered_round']:06d}.safetensors")[
        "personal.own"
    ]
    assert torch.equal(torch.cat([own["11.weight"].flatten(), own["11.bias"]]), kept)
    assert load(saved.read(tmp_path / "own"), torch.device("cpu")).spec.classes == tuple(
        told["model"]["classes"]
    )
    described = json.loads((tmp_path / "own" / "model.json").read_text())
    assert described["provenance"]["store"] == "store-1"
    own_file = tmp_path / "own" / "model.safetensors"
    assert description_in(own_file) == description_beside(own_file)
    again = refused(
        trained / "home",
        2,
        "export",
        str(trained / "run"),
        "--name",
        "store-1",
        "--out",
        str(tmp_path / "own"),
    )
    assert "holds a model already" in again


def test_where_the_store_has_no_part_it_says_why(trained: Path, tmp_path: Path) -> None:
    told = refused(
        trained / "home", 2, "export", str(trained / "run"), "--name", "store-9", "--out", "own"
    )
    assert "stores that were set up on this machine: store-1" in told
    (tmp_path / "home" / "stores" / "store-1").mkdir(parents=True)
    told = refused(
        tmp_path / "home", 2, "export", str(trained / "run"), "--name", "store-1", "--out", "own"
    )
    assert "it trained in no round of that run up to" in told


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"personal": []}, 2, "and they add nothing to its scores; use it as it is"),
        ({"personal": ["12.weight"]}, 3, "12.weight"),
        ({"personal": ["11.bias"]}, 3, "the model has room for 10"),
        ({"run_id": "../.."}, 3, "letters, digits"),
        ({"round": "1"}, 3, "another type"),
    ],
)
def test_a_model_that_was_tampered_with_or_needs_no_export_is_refused(
    trained: Path, tmp_path: Path, change: dict[str, object], code: int, words: str
) -> None:
    shutil.copy(trained / "run" / "model.safetensors", tmp_path)
    described = json.loads((trained / "run" / "model.json").read_text())
    described["provenance"] |= change
    (tmp_path / "model.json").write_text(json.dumps(described))
    asked = ["export", str(tmp_path), "--name", "store-1", "--out", str(tmp_path / "own")]
    assert words in refused(trained / "home", code, *asked)
    assert not (tmp_path / "own").exists()
