"""Code that is not Fedshelf's: only a name that the policy lists is imported at a store."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fedshelf.client.failures import StoreError, failure_of
from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.command import check_names
from fedshelf.client.policy.enforcement import PolicyEnforcer
from fedshelf.client.policy.policy import Policy
from fedshelf.common import own_objects, strategies
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.protocol.messages import Plan, TrainOrder

MODULE = """
from fedshelf.common.strategies import STRATEGIES

Halfway = STRATEGIES["fedavg"]
Small = Fade = Top = None
"""
SETTINGS = {
    "strategy.name": ("strategies", "chain_lab:Halfway"),
    "model.name": ("models", "chain_lab:Small"),
    "data.augmentation": ("augmentations", "chain_lab:Fade"),
    "evaluation.metrics": ("further_metrics", "chain_lab:Top"),
}


@pytest.fixture(autouse=True)
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(own_objects, "_allowed", {})
    (tmp_path / "site").mkdir()
    (tmp_path / "site/chain_lab.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield
    sys.modules.pop("chain_lab", None)


def received(**changed: object) -> RunConfig:
    """Settings as a store gets them, which has imported nothing for them."""
    plain = resolve().model_dump(mode="json")
    for key, value in changed.items():
        section, _, name = key.partition("__")
        plain[section][name] = value
    return RunConfig.model_validate(plain)


def order(config: RunConfig) -> TrainOrder:
    spec = ModelSpec(config.model.name, ("boot", "hat"), 32, 3, (0.5,) * 3, (0.5,) * 3)
    return TrainOrder(Plan("run", config, spec), 1, torch.zeros(5))


def enforcer(place: Path, **policy: object) -> PolicyEnforcer:
    return PolicyEnforcer(Policy(**policy), Usage(place / "usage.json"))


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_is_not_listed_is_refused_and_never_imported(setting: str, tmp_path: Path) -> None:
    key, name = SETTINGS[setting]
    value = [name] if setting == "evaluation.metrics" else name
    config = received(**{setting.replace(".", "__"): value})
    for asked in (config, order(config)):
        with pytest.raises(StoreError, match=rf"needs the .* {name}, which is not Fedsh") as caught:
            enforcer(tmp_path).check_allowed(asked)
        advice = f"install chain_lab here, if you trust it, add '{name}' to {key}"
        assert advice in str(caught.value)
        failure = failure_of("oslo", caught.value)
        assert (failure.code, failure.detail) == ("policy", key.replace("_", "-"))
    assert "chain_lab" not in sys.modules


def test_another_key_of_the_policy_admits_nothing(tmp_path: Path) -> None:
    config = received(strategy__name="chain_lab:Halfway", strategy__way=0.5)
    with pytest.raises(StoreError, match=r"\(strategies\)"):
        enforcer(tmp_path, further_metrics=("chain_lab:Halfway",)).check_allowed(order(config))


def test_a_listed_one_is_imported_when_the_store_starts(tmp_path: Path) -> None:
    policy = Policy(strategies=("chain_lab:Halfway", "fedprox"))
    assert "chain_lab" not in sys.modules
    check_names(policy)
    assert "chain_lab" in sys.modules
    config = received(strategy__name="chain_lab:Halfway")
    enforcer(tmp_path, strategies=policy.strategies).check_allowed(order(config))
    assert strategies.find("chain_lab:Halfway") is strategies.STRATEGIES["fedavg"]
    with pytest.raises(StoreError, match=r"for the strategy 'fedavg'; allowed: chain_lab:Halfway"):
        enforcer(tmp_path, strategies=policy.strategies).check_allowed(order(received()))


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"models": ("missing_lab:Small",)}, "missing_lab must be installed, and have Small"),
        ({"augmentations": ("chain_lab:Missing",)}, "chain_lab must be installed, and have Missi"),
        ({"augmentations": ("fade",)}, "key augmentations has 'fade', which Fedshelf does not"),
        ({"strategies": ("fedavgg",)}, "Did you mean fedavg"),
    ],
)
def test_a_policy_that_lists_what_is_not_installed_says_so(
    listed: dict[str, tuple[str, ...]], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        check_names(Policy(**listed))


def test_the_current_folder_counts_for_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here_lab.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="No module named 'here_lab'"):
        check_names(Policy(models=("here_lab:Small",)))
