"""Recipes: what they add to settings, when they fit, and what they need."""

from collections.abc import Mapping
from typing import Any

import pytest

from fedshelf.common import strategies
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.server.settings import recipes
from fedshelf.server.settings.recipes import RECIPES, complete
from fedshelf.server.training.setup import prepare, settle


@pytest.fixture(autouse=True)
def _no_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(recipes.RECIPE_VARIABLE, raising=False)


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "PACKAGE", "no_such_package_of_weights")


def chosen(given: Mapping[str, Any], *, photos: bool = True) -> str:
    return str(complete(given, photos=photos).settings["run.recipe"])


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({}, "ridge"),
        ({"run.seed": 3, "data.stores": 7}, "ridge"),
        ({"strategy.name": "prototypes"}, "ridge"),
        ({"run.engine": "ray"}, "ridge"),
        ({"run.engine": "batched"}, "head"),
        ({"run.rounds": 20}, "head"),
        ({"train.lr": 0.1}, "head"),
        ({"strategy.name": "fedprox"}, "head"),
        ({"model.name": "cnn"}, "none"),
        ({"model.weights": "mine.safetensors"}, "none"),
        ({"train.objective": "turns"}, "none"),
        ({"model.resume_from": "runs/a", "model.name": "efficientnet-lite0-depths"}, "finetune"),
        ({"model.resume_from": "runs/a", "model.name": "cnn"}, "none"),
        ({"model.name": "auto"}, "ridge"),
        ({"run.recipe": "scratch"}, "scratch"),
        ({"run.recipe": "none"}, "none"),
    ],
)
def test_a_recipe_fits_what_is_given(given: Mapping[str, Any], recipe: str) -> None:
    assert chosen(given) == recipe


@pytest.mark.parametrize(
    ("given", "recipe"),
    [
        ({}, "boxes"),
        ({"train.objective": "masks"}, "masks"),
        ({"model.weights": "release"}, "boxes"),  # the start of a training does not choose it
        ({"model.name": "locator", "train.objective": "boxes"}, "boxes"),  # as the recipe has it
        ({"model.name": "unet", "train.objective": "masks"}, "masks"),
        ({"model.name": "unet"}, "none"),
        ({"train.objective": "boxes", "model.resume_from": "runs/a"}, "boxes"),
    ],
)
def test_scenes_have_the_recipe_of_their_objective(given: Mapping[str, Any], recipe: str) -> None:
    assert complete(given, photos=True, scenes=True).settings["run.recipe"] == recipe


def test_small_images_of_one_size_need_none() -> None:
    assert complete({"data.stores": 3}, photos=False).settings == {
        "data.stores": 3,
        "run.recipe": "none",
    }


def test_given_settings_win() -> None:
    settings = complete({"run.rounds": 2, "strategy.name": "ridge"}, photos=True).settings
    assert (settings["run.rounds"], settings["model.freeze"]) == (2, "backbone")


def test_a_closed_form_has_one_round_in_every_recipe() -> None:
    for model in ({}, {"model.name": "cnn"}):
        given = {"strategy.name": "prototypes", **model}
        assert complete(given, photos=False).settings["run.rounds"] == 1
    assert "run.rounds" not in complete({"model.name": "cnn"}, photos=True).settings


@pytest.mark.usefixtures("nothing_installed")
def test_without_weights_photos_train_from_scratch_and_a_line_tells_what_is_missed() -> None:
    completed = complete({}, photos=True)
    assert completed.settings == {"model.name": "cnn", "run.recipe": "scratch"}
    assert "pip install 'fedshelf[pretrained]'" in completed.note
    assert complete({"run.recipe": "scratch"}, photos=True).note == ""


@pytest.mark.usefixtures("nothing_installed")
@pytest.mark.parametrize("recipe", ["ridge", "head"])
def test_a_recipe_whose_weights_are_missing_is_refused(recipe: str) -> None:
    with pytest.raises(ConfigError, match=r"needs pretrained weights.*fedshelf\[pretrained\]"):
        complete({"run.recipe": recipe}, photos=True)


def test_fine_tuning_needs_a_model() -> None:
    with pytest.raises(ConfigError, match="give --resume-from RUN"):
        complete({"run.recipe": "finetune"}, photos=True)


def test_the_environment_names_the_recipe_of_runs_that_name_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(recipes.RECIPE_VARIABLE, "scratch")
    assert chosen({}) == "scratch"
    assert chosen({"run.recipe": "ridge"}) == "ridge"


@pytest.mark.parametrize("name", ["ridge", "head", "scratch"])
def test_recipes_make_runs_that_can_begin(name: str) -> None:
    """At 64 pixels, to be quick."""
    config = settle(resolve({**RECIPES[name], "data.image_size": 64}), None, 3)
    strategies.check(config)
    start = prepare(config, ("hat", "shoe"), 3)
    assert len(start.params) == start.layout.size


def test_the_part_that_the_model_before_had_frozen_is_no_choice_of_a_person() -> None:
    given = {"model.resume_from": "runs/a"}
    model = {
        "model.resume_from": "/runs/a/model.safetensors",
        "model.name": "efficientnet-lite0-depths",
        "model.freeze": "backbone",
    }
    settings = complete(given, photos=True, inherited=model).settings
    assert (settings["run.recipe"], settings["model.freeze"]) == ("finetune", "last:1")
    assert settings["model.resume_from"] == "/runs/a/model.safetensors"
    # a recipe that chooses no part, and a person who does
    plain = complete({**given, "train.lr": 0.1}, photos=True, inherited=model).settings
    assert (plain["run.recipe"], plain["model.freeze"]) == ("none", "backbone")
    chosen = {"model.freeze": "none"}
    own = complete({**given, **chosen}, photos=True, inherited={**model, **chosen}).settings
    assert (own["run.recipe"], own["model.freeze"]) == ("finetune", "none")


@pytest.mark.parametrize(
    ("recipe", "strategy", "words"),
    [
        ("ridge", "fedprox", "'ridge', which solves .* 'fedprox', which trains by rounds"),
        ("head", "ridge", "'head', which trains by rounds, .* 'ridge', which solves"),
    ],
)
def test_a_named_recipe_does_not_become_another_one(recipe: str, strategy: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        complete({"run.recipe": recipe, "strategy.name": strategy}, photos=True)


def test_an_unknown_recipe_is_refused_wherever_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="got 'rigde'; allowed: auto, none, ridge"):
        complete({"run.recipe": "rigde"}, photos=True)
    monkeypatch.setenv(recipes.RECIPE_VARIABLE, "best")
    with pytest.raises(ConfigError, match=r"got 'best'; .*FEDSHELF_RECIPE"):
        complete({}, photos=True)
