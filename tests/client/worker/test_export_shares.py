"""`flower-client export` where stores add their shares of the classes to the model's scores."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.disclosure import OpenDisclosure
from fedshelf.client.policy.enforcement import PolicyEnforcer, PolicyWorker
from fedshelf.client.policy.policy import Policy
from fedshelf.client.worker import export
from fedshelf.client.worker.data import FolderSource
from fedshelf.client.worker.logit_adjustments import ADJUSTMENTS_FOLDER, Adjustments
from fedshelf.client.worker.state_store import KEPT_RUNS, StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import saved
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan, TrainOrder
from fedshelf.common.training.fit import Network
from fedshelf.common.training.predict import load
from tests.helpers.client_command import refused
from tests.helpers.client_command import run as client
from tests.helpers.model_files import description_beside, description_in
from tests.helpers.policy_store import folder
from tests.helpers.simulation_command import SMALL, run, summary

SHARES = torch.linspace(-3, -1, 10)


def trained(place: Path, *settings: str) -> Path:
    """A folder with a run of which stores add their shares, and a store's home as after its
    training.
    """
    weigh = [
        "--set",
        "strategy.absent_classes=weigh",
        "--set",
        "data.holdout=0.2",
        "--partition",
        "dirichlet:0.3",
    ]
    done = run("run", *SMALL, *weigh, *settings, "--rounds", "3", "--out", place / "run")
    assert done.returncode == 0, done.stderr
    home = place / "home" / "stores" / "store-1"
    home.mkdir(parents=True)
    told = json.loads((place / "run" / "model.json").read_text())
    Adjustments(home / ADJUSTMENTS_FOLDER).save(
        told["provenance"]["run_id"], told["classes"], SHARES
    )
    if (place / "run" / "stores").is_dir():
        shutil.copytree(place / "run" / "stores", home / "states")
    return place


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("trained"))


def scores(model: Path) -> torch.Tensor:
    network = load(saved.read(model), torch.device("cpu"))
    spec = network.spec
    network.module.eval()
    with torch.no_grad():
        return network.logits(
            torch.rand(5, spec.channels, spec.image_size, spec.image_size, generator=seeded())
        )


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def changed(place: Path, to: Path, **change: object) -> Path:
    """A copy of the run's model that says something else of itself."""
    to.mkdir()
    shutil.copy(place / "run" / "model.safetensors", to)
    told = json.loads((place / "run" / "model.json").read_text())
    told["provenance"] |= change
    (to / "model.json").write_text(json.dumps(told))
    return to


def test_a_run_says_by_which_scores_its_stores_use_the_model(shared: Path) -> None:
    told = summary(shared / "run")
    model = json.loads((shared / "run" / "model.json").read_text())
    assert told["adjustment"] == model["provenance"]["adjustment"]
    found = told["adjustment"]
    assert (found["used"], found["chosen_on"]) == ("adjusted", "validation")
    assert found["validation"]["adjusted"]["loss"] < found["validation"]["raw"]["loss"]
    assert found["test"] is None  # the server has the test images
    rows = told["per_store"].values()
    raw = found["validation"]["raw"]
    together = sum(row["raw_accuracy"] * row["images"] for row in rows)
    assert together / raw["images"] == pytest.approx(raw["accuracy"])


def test_any_tool_that_loads_the_file_adds_the_shares(shared: Path, tmp_path: Path) -> None:
    asked = ["export", str(shared / "run"), "--name", "store-1", "--out", str(tmp_path / "own")]
    done = client(shared / "home", *asked)
    assert done.returncode == 0, done.stderr
    assert "this store's shares of the classes" in done.stdout
    torch.testing.assert_close(scores(tmp_path / "own"), scores(shared / "run") + SHARES)
    told = json.loads((tmp_path / "own" / "model.json").read_text())
    chain = json.loads((shared / "run" / "model.json").read_text())
    assert told["added_to_bias"] == dict(zip(chain["classes"], SHARES.tolist(), strict=True))
    assert (
        told["temperature"]
        == chain["provenance"]["adjustment"]["temperature"]
        != chain["temperature"]
    )
    # each is of its own model's scores
    assert (
        told["energy_threshold"]
        == chain["provenance"]["adjustment"]["energy_threshold"]
        < chain["energy_threshold"]
    )
    own_file = tmp_path / "own" / "model.safetensors"
    assert description_in(own_file) == description_beside(own_file)
    again = refused(
        shared / "home", 2, "export", str(tmp_path / "own"), "--name", "store-1", "--out", "twice"
    )
    assert "holds a store's own model already, that of store-1" in again


def test_a_store_with_layers_of_its_own_adds_the_shares_to_them(tmp_path: Path) -> None:
    place = trained(tmp_path, "--strategy", "fedper")
    done = client(
        place / "home",
        "export",
        str(place / "run"),
        "--name",
        "store-1",
        "--out",
        str(tmp_path / "own"),
    )
    assert done.returncode == 0, done.stderr
    told, (states,) = summary(place / "run"), (place / "run" / "stores").iterdir()
    kept = StateStore(states.parent).load(states.name, "store-1", told["delivered_round"] + 1)[
        "personal.own"
    ]
    own = saved.read(tmp_path / "own").tensors
    assert torch.equal(own["11.weight"].flatten(), kept[:-10])
    torch.testing.assert_close(own["11.bias"], kept[-10:] + SHARES)


def test_where_validation_spoke_against_them_they_are_not_added(
    shared: Path, tmp_path: Path
) -> None:
    raw = json.loads((shared / "run" / "model.json").read_text())["provenance"]["adjustment"] | {
        "used": "raw"
    }
    model = changed(shared, tmp_path / "raw", adjustment=raw)
    told = refused(
        shared / "home",
        2,
        "export",
        str(model),
        "--name",
        "store-1",
        "--out",
        str(tmp_path / "own"),
    )
    assert (
        "did better as it is than with their shares of the classes added; use it as it is" in told
    )
    place = trained(tmp_path, "--strategy", "fedper")
    model = changed(place, tmp_path / "personal", adjustment=raw)
    done = client(
        place / "home", "export", str(model), "--name", "store-1", "--out", str(tmp_path / "own")
    )
    assert done.returncode == 0, done.stderr
    assert (
        "shares of the classes are not added, because the model did better without them"
        in done.stdout
    )
    assert "added_to_bias" not in json.loads((tmp_path / "own" / "model.json").read_text())


def test_a_store_that_kept_none_is_told_why(shared: Path, tmp_path: Path) -> None:
    model = changed(shared, tmp_path / "other", run_id="another-run")
    told = refused(
        shared / "home",
        2,
        "export",
        str(model),
        "--name",
        "store-1",
        "--out",
        str(tmp_path / "own"),
    )
    assert "it trained in no round of that run, keeps its classes to itself" in told
    model = changed(shared, tmp_path / "odd", adjustment={"used": "both"})
    told = refused(
        shared / "home",
        3,
        "export",
        str(model),
        "--name",
        "store-1",
        "--out",
        str(tmp_path / "own"),
    )
    assert "adjustment says neither adjusted nor raw" in told


@pytest.mark.parametrize(
    ("name", "scale", "words"),
    [
        # cuts scores off at 0
        ("squeezenet1_1", 1.0, "squeezenet1_1 does not end in a layer whose bias is added"),
        (
            "niid-cnn",
            1e30,
            "gives scores that are not finite: a round of its run was spoilt",
        ),
    ],
)
def test_a_network_whose_scores_do_not_end_in_a_bias_or_are_not_finite_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, scale: float, words: str
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    spec = ModelSpec(name, ("boot", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)
    network = Network(spec, torch.device("cpu"), seed=1)
    (tmp_path / "model").mkdir()
    tensors = {key: scale * tensor for key, tensor in network.module.state_dict().items()}
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"spec": spec.to_json()})
    provenance = {"run_id": "run", "round": 1, "personal": [], "adjustment": {"used": "adjusted"}}
    (tmp_path / "model" / "model.json").write_text(json.dumps({"provenance": provenance}))
    home = tmp_path / "home" / "stores" / "oslo"
    home.mkdir(parents=True)
    Adjustments(home / ADJUSTMENTS_FOLDER).save("run", spec.classes, torch.tensor([-0.5, -2.0]))
    with pytest.raises(ConfigError, match=words):
        export.export_own(tmp_path / "model", "oslo", tmp_path / "own")
    assert not (tmp_path / "own").exists()


@pytest.mark.parametrize("class_names", [True, False])
def test_training_keeps_what_it_added(
    class_names: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    policy = Policy(metrics="accuracy", class_names=class_names)
    kept = Adjustments(tmp_path / ADJUSTMENTS_FOLDER)
    # of a time when the policy was another
    kept.save("run", ("boot", "hat", "cap"), torch.zeros(3))
    source = FolderSource("oslo", folder(tmp_path / "photos", 0), policy)
    worker = StoreWorker(
        "oslo", source, Trainer(torch.device("cpu"), StateStore(tmp_path / "states")), kept
    )
    spec = ModelSpec("niid-cnn", ("boot", "hat", "cap"), 32, 3, (0.5,) * 3, (0.5,) * 3)
    config = resolve({"data.image_size": 32, "strategy.absent_classes": "weigh"})
    start = Network(spec, torch.device("cpu"), seed=1).vector
    enforcer = PolicyEnforcer(policy, Usage(tmp_path / "usage.json"))
    PolicyWorker(worker, enforcer, OpenDisclosure(policy)).train(
        TrainOrder(Plan("run", config, spec), 1, start)
    )
    added = kept.load("run", spec.classes)
    if class_names:  # twelve boots, twelve hats, and 3% of a third for caps
        assert added is not None
        torch.testing.assert_close(added.exp(), torch.tensor([0.5, 0.5, 0.01]))
    else:
        assert added is None


def test_the_latest_runs_are_kept_and_damage_is_named(tmp_path: Path) -> None:
    kept = Adjustments(tmp_path / ADJUSTMENTS_FOLDER)
    for number in range(KEPT_RUNS + 3):
        kept.save(f"run-{number}", ("boot", "hat"), torch.tensor([-1.0, -0.25 * number]))
    assert len(list((tmp_path / ADJUSTMENTS_FOLDER).iterdir())) == KEPT_RUNS
    found = kept.load("run-10", ("hat", "boot"))
    assert found is not None
    assert found.tolist() == [-2.5, -1.0]
    assert kept.load("never", ("boot", "hat")) is None
    with pytest.raises(DataError, match=r"run-10\.json"):
        kept.load("run-10", ("boot", "cap"))
    (tmp_path / ADJUSTMENTS_FOLDER / "run-10.json").write_text('{"boot": NaN, "hat": 1}')
    with pytest.raises(DataError, match="what this store adds to the scores of 2 classes"):
        kept.load("run-10", ("boot", "hat"))
