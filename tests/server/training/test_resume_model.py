"""A finished model with more classes: the old ones are told as before, to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.models import expand_head, saved
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.training.fit import Network
from fedshelf.server.training.resume_model import adopt, provenance, take_over

CPU = torch.device("cpu")
OLD = ("boot", "hat", "shirt")
NEW = ("cap", "shirt", "boot", "bag", "hat")
PLACES = [NEW.index(name) for name in OLD]


def spec_of(classes: tuple[str, ...], name: str = "niid-cnn", size: int = 16) -> ModelSpec:
    return ModelSpec(name, classes, size, 3, (0.5,) * 3, (0.25,) * 3)


def written(place: Path, name: str = "niid-cnn", size: int = 16) -> saved.SavedModel:
    """A model file of the old classes, as a run leaves it."""
    network = Network(spec_of(OLD, name, size), CPU, seed=3)
    state = {key: tensor.detach().clone() for key, tensor in network.module.state_dict().items()}
    save_file(state, place / "model.safetensors", metadata={"spec": network.spec.to_json()})
    return saved.read(place)


@pytest.mark.parametrize(("name", "size"), [("niid-cnn", 16), ("cnn", 16), ("squeezenet1_1", 32)])
def test_old_classes_have_the_scores_that_they_had(name: str, size: int, tmp_path: Path) -> None:
    old = written(tmp_path, name, size)
    before = Network(spec_of(OLD, name, size), CPU, seed=3)
    network = Network(spec_of(NEW, name, size), CPU, seed=4)
    drawn = network.vector.clone()
    take_over(network, old)
    for each in (before, network):
        each.module.eval()
    pixels = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        network.logits(pixels)[:, PLACES], before.logits(pixels), rtol=1e-6, atol=1e-6
    )
    for span in network.layout.head_slices():
        rows, old_rows = (vector[span].view(len(NEW), -1) for vector in (network.vector, drawn))
        is_new = [name not in OLD for name in NEW]
        assert torch.equal(rows[is_new], old_rows[is_new])  # as drawn from the seed
        own = before.vector[
            before.layout.head_slices()[network.layout.head_slices().index(span)]
        ].view(len(OLD), -1)
        assert torch.equal(rows[PLACES], own)


def test_before_new_classes_are_learned_none_is_ever_chosen(tmp_path: Path) -> None:
    network = Network(spec_of(NEW), CPU, seed=4)
    origin = take_over(network, written(tmp_path))
    before = Network(spec_of(OLD), CPU, seed=3)
    assert origin.params is not None
    assert not torch.equal(origin.params, network.vector)
    network.load(origin.params)
    pixels = torch.randn(50, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    chosen = [NEW[place] for place in network.logits(pixels).argmax(dim=1)]
    assert chosen == [OLD[place] for place in before.logits(pixels).argmax(dim=1)]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (
            spec_of(("boot", "hat", "bag")),
            "knows the class 'shirt', which is not among this run's classes",
        ),
        (spec_of(NEW, "cnn"), "has the network niid-cnn, but this run has cnn"),
        (spec_of(NEW, size=32), "has the image size 16, but this run has 32"),
        (
            ModelSpec("niid-cnn", NEW, 16, 1, (0.5,), (0.25,)),
            "has the channels 3, but this run has 1",
        ),
    ],
)
def test_what_does_not_go_together_is_one_sentence(
    spec: ModelSpec, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=words):
        expand_head.check_expandable(written(tmp_path), spec)


def test_settings_are_the_models_unless_they_contradict_it(tmp_path: Path) -> None:
    written(tmp_path)
    path = str(tmp_path / "model.safetensors")
    taken = adopt({"model.resume_from": str(tmp_path), "train.lr": "0.1"})
    assert taken == {
        "model.resume_from": path, "train.lr": "0.1", "model.name": "niid-cnn",
        "model.norm": "default", "data.image_size": 16,
    }  # fmt: skip
    assert adopt({"train.lr": "0.1"}) == {"train.lr": "0.1"}
    assert (
        adopt({"model.resume_from": path, "model.name": "niid-cnn", "data.image_size": "0"})[
            "data.image_size"
        ]
        == 16
    )
    for contradiction, words in (
        ({"model.name": "cnn"}, "model.name got 'cnn', but the model .* has 'niid-cnn'"),
        ({"data.image_size": "32"}, "data.image_size got 32, but the model .* has 16"),
        ({"data.classes": "boot,hat,cap"}, "--classes leaves out 'shirt'"),
        ({"model.weights": "torchvision"}, "which has all weights"),
    ):
        with pytest.raises(ConfigError, match=words):
            adopt({"model.resume_from": path, **contradiction})
    with pytest.raises(DataError, match="There is no model in"):
        adopt({"model.resume_from": str(tmp_path / "nothing")})


def test_the_frozen_part_is_the_models_unless_a_person_or_a_recipe_chooses_another(
    tmp_path: Path,
) -> None:
    spec = replace(spec_of(OLD), freeze="backbone")
    state = Network(spec, CPU, seed=3).module.state_dict()
    save_file(state, tmp_path / "model.safetensors", metadata={"spec": spec.to_json()})
    given = {"model.resume_from": str(tmp_path)}
    assert adopt(given | {"run.recipe": "none"})["model.freeze"] == "backbone"
    assert adopt(given | {"model.freeze": "last:2"})["model.freeze"] == "last:2"
    assert "model.freeze" not in adopt(given | {"run.recipe": "finetune"})


def test_provenance_is_told_with_and_without_a_model_json(tmp_path: Path) -> None:
    old = written(tmp_path)
    bare = provenance(old)
    assert (bare["classes"], bare["run_id"], len(bare["file_sha256"])) == (list(OLD), None, 64)
    (tmp_path / "model.json").write_text('{"provenance": {"run_id": "abc", "round": 7}}')
    assert provenance(old) == bare | {"run_id": "abc", "round": 7}
