"""An installed package adds strategies, models, data sets and partitions by its entry points."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedshelf.client.failures import failure_of
from fedshelf.common import models, plugins, strategies
from fedshelf.common.config import (
    DataConfig,
    ModelConfig,
    RunConfig,
    StrategyConfig,
    flatten,
    resolve,
    to_flower,
)
from fedshelf.common.errors import ConfigError
from fedshelf.simulations import datasets, partitions
from tests.helpers.installed_package import install
from tests.helpers.simulation_command import run_process, summary

PROJECT = """
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "shop-algorithms"
version = "2.0"

[project.entry-points."fedshelf.strategies"]
lagging = "shop_algorithms:Lagging"

[project.entry-points."fedshelf.models"]
softmax = "shop_algorithms:SOFTMAX"

[project.entry-points."fedshelf.datasets"]
shades = "shop_algorithms:shades"

[project.entry-points."fedshelf.partitions"]
blocks-of = "shop_algorithms:BLOCKS"

[tool.setuptools]
py-modules = ["shop_algorithms"]
"""
MODULE = """
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn

from fedshelf.common.config.field_types import Fraction, StrategySettings
from fedshelf.common.models.spec import ModelInfo
from fedshelf.common.strategies import Strategy
from fedshelf.simulations.datasets import DatasetSource, arrays
from fedshelf.simulations.datasets.dataset.cache import key_of
from fedshelf.simulations.partitions import Family


class LaggingSettings(StrategySettings):
    lag: Fraction = Field(0.5, description="share of the way to the mean that is left out")
    kept: tuple[str, ...] = Field((), description="names of something, to try lists")


class Lagging(Strategy):
    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    settings: LaggingSettings

    def server_step(self, params, combined, state, trainable):
        return torch.lerp(params, combined, 1 - self.settings.lag), state


def build(classes, image_size, channels):
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, classes))


SOFTMAX = ModelInfo(build=build, default_size=8, min_size=1)


def draw(images):
    labels = np.arange(images) % 2
    noise = np.random.default_rng(images).integers(0, 128, (images, 8, 8, 3))
    return (noise + 127 * labels[:, None, None, None]).astype(np.uint8), labels


def read():
    return {"train": draw(60), "test": draw(20)}


def shades(name):
    key = key_of([Path(__file__)])
    return DatasetSource(name, 8, 3, partial(arrays.load, name, ("dark", "light"), key, read))


def blocks(task, size):
    return np.arange(len(task.labels)) // size % task.stores


BLOCKS = Family(blocks, "size", 4)
"""
ENTRY_POINTS = (
    PROJECT[PROJECT.index("[project.entry") : PROJECT.index("[tool.set")]
    .replace('[project.entry-points."', "[")
    .replace('"]', "]")
    .replace('"', "")
)
MINE = (
    "--dataset", "shades", "--partition", "blocks-of:5", "--stores", "2", "--model", "softmax",
    "--strategy", "lagging",
)  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package from its folder, as its user would, into a folder."""
    source = tmp_path_factory.mktemp("source")
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "shop_algorithms.py").write_text(MODULE)
    installed = tmp_path_factory.mktemp("site")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation",
        "--no-index", "--disable-pip-version-check", "--target", str(installed), str(source),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return installed


@pytest.fixture
def installs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str, str, str], None]]:
    """Install packages of one module each for this process, until the test ends."""
    monkeypatch.syspath_prepend(str(tmp_path / "site"))

    def add(name: str, entry_points: str, module: str) -> None:
        install(tmp_path / "site", name, entry_points, {name.replace("-", "_"): module})
        plugins._entries.cache_clear()
        monkeypatch.delitem(sys.modules, name.replace("-", "_"), raising=False)

    yield add
    sys.modules.pop("shop_algorithms", None)
    monkeypatch.undo()
    plugins._entries.cache_clear()


@pytest.mark.slow(minutes=0.5)
def test_a_package_from_a_folder_adds_all_four_to_the_command_line(
    site: Path, tmp_path: Path
) -> None:
    environment = {"PYTHONPATH": str(site), "FEDSHELF_CACHE": str(tmp_path / "cache")}

    def run(*arguments: str | Path) -> Path:
        out = tmp_path / str(len(list(tmp_path.iterdir())))
        done = run_process("run", *arguments, "--out", out, env=environment)
        assert done.returncode == 0, done.stderr
        return out

    more = ("--set", "strategy.lag=0.25", "--set", "strategy.kept=a,b")
    whole = run(*MINE, *more, "--rounds", "2")
    assert summary(whole)["test"]["accuracy"] == 1.0  # any linear layer tells dark from light
    written = tomllib.loads((whole / "config.toml").read_text())["strategy"]
    assert (written["name"], written["lag"], written["kept"]) == ("lagging", 0.25, ["a", "b"])
    assert "softmax" in json.loads((whole / "model.json").read_text()).values()

    again = run("--config", whole / "config.toml")
    begun = run(*MINE, *more, "--rounds", "1")
    other = run(*MINE, "--rounds", "2")
    resumed = run_process("run", "--resume", "--out", begun, "--rounds", "2", env=environment)
    assert resumed.returncode == 0, resumed.stderr
    hashes = [summary(out)["weights_sha256"] for out in (whole, again, begun, other)]
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]

    changed = run_process(
        "run", "--resume", "--out", begun, *MINE, "--set", "strategy.lag=0.75", env=environment
    )
    assert changed.returncode == 2
    assert "Setting strategy.lag got 0.75, but the run in" in changed.stderr
    without = run_process("run", "--resume", "--out", begun, "--rounds", "3")
    assert without.returncode == 2
    assert "'lagging'" in without.stderr
    assert "Traceback" not in without.stderr


def test_settings_of_a_plug_in_are_checked_like_all_others(installs: Callable[..., None]) -> None:
    installs("shop-algorithms", ENTRY_POINTS, MODULE)
    lagging = {"strategy.name": "lagging"}
    config = resolve(lagging)
    flat = flatten(config)
    assert (flat["strategy.lag"], flat["strategy.kept"]) == (0.5, ())
    assert resolve(flat) == resolve(to_flower(config)) == config
    assert resolve(lagging, {"strategy.lag": "0.25"}) == resolve(lagging, {"strategy.lag": 0.25})
    for settings, words in (
        ({"strategy.lag": "2"}, r"strategy\.lag got '2'; allowed: less than or equal to 1\. It me"),
        ({"strategy.lagg": "1"}, r"Unknown setting 'strategy\.lagg'\. Did you mean strategy\.lag"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(lagging, settings)
    with pytest.raises(ConfigError, match=r"Unknown setting 'strategy\.lag'"):
        resolve({"strategy.lag": 0.5})
    with pytest.raises(ConfigError, match=r"mu got 0\.5, but lagging does not use it; it is for"):
        strategies.build(resolve(lagging, {"strategy.mu": 0.5}).strategy)


def test_a_store_without_the_plug_in_refuses_the_order_in_one_sentence(
    installs: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    installs("shop-algorithms", ENTRY_POINTS, MODULE)
    sent = resolve({"strategy.name": "lagging"}).model_dump_json()
    monkeypatch.undo()
    plugins._entries.cache_clear()
    received = RunConfig.model_validate_json(sent)
    with pytest.raises(ConfigError, match=r"^Setting strategy\.name got 'lagging'; allowed: ") as e:
        strategies.build(received.strategy)
    assert "\n" not in str(e.value)
    assert failure_of("oslo", e.value).code == "refused"
    with pytest.raises(ConfigError, match="Unknown model 'softmax'"):
        models.specify(ModelConfig(name="softmax"), (), image_size=0, native_size=8, channels=3)


def test_other_settings_than_those_of_the_plug_in_here_are_refused(
    installs: Callable[..., None],
) -> None:
    installs("shop-algorithms", ENTRY_POINTS, MODULE)
    config = resolve({"strategy.name": "lagging"}).strategy
    for changed in (config.model_copy(update={"lag": 7}), config.model_copy(update={"lead": 1})):
        with pytest.raises(ConfigError, match=r"lag|lead"):
            strategies.build(changed)


@pytest.mark.parametrize(
    ("entry_points", "words"),
    [
        ("[fedshelf.strategies]\nfedavg = other:X", "adds a strategy 'fedavg', which is the name"),
        ("[fedshelf.strategies]\nodd = missing_module:X", r"cannot be imported \(ModuleNotFound"),
        ("[fedshelf.strategies]\nodd = other:Missing", r"cannot be imported \(AttributeError"),
        ("[fedshelf.strategies]\nodd = other:X", "is not a class derived from Strategy"),
        ("[fedshelf.models]\ncnn = other:X", "adds a model 'cnn', which is the name of one of"),
        ("[fedshelf.models]\nresnet18 = other:X", "adds a model 'resnet18', which is the name"),
        ("[fedshelf.models]\nodd = other:X", "is not a ModelInfo"),
        ("[fedshelf.datasets]\nshelf = other:X", "adds a data set 'shelf', which is the name"),
        ("[fedshelf.datasets]\nodd = other:X", "is not a function from its name to a DatasetS"),
        ("[fedshelf.partitions]\nfolder = other:X", "adds a partition 'folder', which is the"),
        ("[fedshelf.partitions]\nodd = other:X", "is not a Family"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_named_with_its_package(
    installs: Callable[..., None], entry_points: str, words: str
) -> None:
    installs("other", entry_points, "X = 1\n")
    group, _, entry = entry_points.partition("\n")
    name = entry.partition(" ")[0]
    use: Callable[[], object] = {
        "[fedshelf.strategies]": lambda: strategies.build(StrategyConfig(name=name)),
        "[fedshelf.models]": lambda: models.specify(
            ModelConfig(name=name), (), image_size=0, native_size=64, channels=3
        ),
        "[fedshelf.datasets]": lambda: datasets.find(DataConfig(dataset=name)),
        "[fedshelf.partitions]": lambda: partitions.parse_partition(name),
    }[group]
    with pytest.raises(ConfigError, match=words) as caught:
        use()
    assert "other 1.0" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_packages_with_one_name_are_refused(installs: Callable[..., None]) -> None:
    installs("shop-algorithms", ENTRY_POINTS, MODULE)
    installs("other", ENTRY_POINTS, MODULE)
    for use in (
        lambda: resolve({"strategy.name": "lagging"}),
        lambda: partitions.parse_partition("blocks-of:3"),
    ):
        with pytest.raises(ConfigError, match=r"more than one package: other 1\.0, shop-alg"):
            use()


def test_help_reads_no_entry_points(site: Path) -> None:
    broken = "import importlib.metadata; importlib.metadata.entry_points = None; "
    program = "from fedshelf.simulations.main import app; app(['run', '--help'])"
    done = subprocess.run(
        [sys.executable, "-c", broken + program],
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
