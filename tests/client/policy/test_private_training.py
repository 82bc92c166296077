"""A policy with an epsilon: which runs it accepts, by their settings alone."""

from pathlib import Path

import pytest
import torch

from fedshelf.client.failures import StoreError
from fedshelf.client.policy.policy import Policy, load_policy
from fedshelf.client.policy.private_training import check_privacy
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.models.spec import ModelSpec

PRIVATE = {
    "model.name": "niid-cnn",
    "privacy.clip": 1.0,
    "privacy.noise": 1.1,
    "privacy.rate": 0.1,
    "privacy.steps": 20,
}


def check(model: str = "niid-cnn", norm: str = "default", **changed: object) -> None:
    settings = {key.replace("__", "."): value for key, value in changed.items()}
    spec = ModelSpec(model, ("boot", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3, norm=norm)
    check_privacy(resolve({**PRIVATE, **settings}), spec, spec.classes)


def test_a_private_run_is_accepted_before_and_after_its_model_is_known() -> None:
    check()
    check_privacy(resolve(PRIVATE), None, ("boot", "hat"))


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox", "scaffold", "feddyn", "median"])
def test_all_strategies_that_train_come_after_the_noise(strategy: str) -> None:
    check(strategy__name=strategy)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"privacy__clip": 0.0}, "without differential privacy (privacy.clip is 0)"),
        ({"privacy__noise": 0.0}, "privacy.noise is 0"),
        ({"privacy__rate": 0.0}, "without privacy.rate"),
        ({"privacy__steps": 0}, "without privacy.steps"),
        ({"data__mixup": 0.5}, "data.mixup 0.5, which mixes images"),
        ({"data__cutmix": 1.0}, "data.cutmix 1.0, which mixes images"),
        ({"train__seconds": 9.0}, "train.seconds 9.0, which lets the time decide"),
        ({"strategy__absent_classes": "weigh"}, "strategy.absent_classes weigh, which"),
        ({"strategy__absent_classes": "mask"}, "strategy.absent_classes mask, which"),
        ({"strategy__name": "ridge"}, "ridge sends sums over the photos without noise"),
        ({"strategy__name": "prototypes"}, "prototypes sends sums"),
        ({"data__split": "hash"}, "data.split is hash"),
        ({"data__merge_spellings": True}, "data.merge_spellings is True"),
        ({"train__objective": "turns"}, "train.objective is turns"),
        ({"model": "resnet18", "norm": "batch"}, "resnet18 has batch norm"),
    ],
)
def test_what_voids_the_claim_is_refused_by_name(changed: dict[str, str], told: str) -> None:
    with pytest.raises(StoreError) as caught:
        check(**changed)
    assert told in str(caught.value)
    assert caught.value.detail == "epsilon"


def test_batch_norm_with_fixed_statistics_mixes_no_photos() -> None:
    check(model="resnet18", norm="frozen")
    check(model="resnet18", norm="group")


@pytest.mark.parametrize(
    ("classes", "objective"),
    [(("product",), "boxes"), (("background", "product"), "masks"), (("boot", "hat"), "classes")],
)
def test_the_policy_says_whether_scenes_or_single_products_are_counted(
    classes: tuple[str, ...], objective: str
) -> None:
    """A folder may have both, and a run of the other kind would tell how many are of which."""
    for asked in ("classes", "boxes", "masks"):
        config = resolve({**PRIVATE, "train.objective": asked})
        if asked == objective:
            check_privacy(config, None, classes)
        else:
            with pytest.raises(StoreError, match=f"train.objective is {asked}"):
                check_privacy(config, None, classes)


def policy(folder: Path, text: str) -> Policy:
    path = folder / "policy.toml"
    path.write_text(text, encoding="utf-8")
    return load_policy(path)


def test_the_key_of_earlier_versions_needs_an_epsilon(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="differential_privacy got True, and needs an epsilon"):
        policy(tmp_path, "differential_privacy = true")
    keys = 'epsilon = 3.0\ncounts = "none"\nclasses = ["hat"]'
    both = policy(tmp_path, f"differential_privacy = true\n{keys}")
    assert both == Policy(epsilon=3.0, counts="none", classes=("hat",))
    assert policy(tmp_path, "differential_privacy = false") == Policy()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("epsilon = 8.0", 'epsilon needs counts = "noised" or counts = "none"'),
        ("epsilon_judging = 1.0", "epsilon_judging needs epsilon"),
        ("delta = 0.001", "delta got 0.001; allowed: less than or equal to 0.00001"),
        ("delta = 0", "delta got 0; allowed: greater than 0"),
        ("epsilon = -1", "epsilon got -1; allowed: greater than or equal to 0"),
        ('counts = "some"', "counts got 'some'; allowed: 'exact', 'noised' or 'none'"),
    ],
)
def test_keys_that_promise_nothing_are_mistakes(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        policy(tmp_path, text)
    assert told in str(caught.value)


def test_the_policy_decides_without_memory_for_the_network() -> None:
    """It builds a network of 100M parameters in no memory."""
    before = torch.get_rng_state()
    spec = ModelSpec("niid-cnn", ("a", "b"), 512, 3, (0.5,) * 3, (0.5,) * 3)
    check_privacy(resolve(PRIVATE), spec, spec.classes)
    assert torch.equal(torch.get_rng_state(), before)
