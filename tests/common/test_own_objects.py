"""Names `module:Object` count only where a person of this machine gave them."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedshelf.common import models, own_objects, plugins, strategies
from fedshelf.common.config import ModelConfig, RunConfig, resolve
from fedshelf.common.errors import ConfigError

MODULE = """
from pathlib import Path
from fedshelf.common.strategies import Strategy
Path(__file__).with_name("imported").touch()
class Plain(Strategy):
    class Inner(Strategy):
        pass
NUMBER = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "mylab_objects.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(own_objects, "_allowed", {})
    monkeypatch.setattr(own_objects, "_registered", {})
    yield tmp_path
    sys.modules.pop("mylab_objects", None)


def test_a_name_that_nobody_allowed_is_imported_by_no_order_and_no_file(here: Path) -> None:
    """As at a store, whose order names what the server likes."""
    sent = RunConfig.model_validate({"strategy": {"name": "mylab_objects:Plain"}})
    received = RunConfig.model_validate_json(sent.model_dump_json())
    with pytest.raises(ConfigError, match=r"^Setting strategy\.name got 'mylab_objects:Plain'"):
        strategies.build(received.strategy)
    with pytest.raises(ConfigError, match="model mylab_objects:Plain is code of its own"):
        models.specify(
            ModelConfig(name="mylab_objects:Plain"), (), image_size=0, native_size=8, channels=3
        )
    assert not (here / "imported").exists()


@pytest.mark.usefixtures("here")
def test_an_allowed_name_is_imported_from_the_current_folder() -> None:
    for name in ("mylab_objects:Plain", "mylab_objects:Plain.Inner"):
        own_objects.allow(name)
        assert strategies.find(name).__qualname__ == name.partition(":")[2]
    assert resolve({"strategy.name": "mylab_objects:Plain"}).strategy.name == "mylab_objects:Plain"
    assert own_objects.name_of(strategies.find("mylab_objects:Plain.Inner")) == (
        "mylab_objects:Plain.Inner"
    )


@pytest.mark.usefixtures("here")
def test_where_only_installed_code_counts_the_current_folder_is_left_out() -> None:
    own_objects.allow("mylab_objects:Plain", from_here=False)
    with pytest.raises(ConfigError, match="must be installed, and have Plain"):
        strategies.find("mylab_objects:Plain")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mylab_objects:Absent", r"cannot be imported \(AttributeError"),
        ("absent_module:Plain", "must lie in the current folder, or be installed"),
        ("mylab_objects:NUMBER", r"mylab_objects:NUMBER is not a class derived from Strategy"),
        ("python:Plain", "is an object that a Python program gave"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_name_that_cannot_be_used_is_refused_in_one_sentence(name: str, words: str) -> None:
    own_objects.allow(name)
    with pytest.raises(ConfigError, match=words) as caught:
        strategies.find(name)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_an_object_without_a_module_is_known_as_long_as_it_was_given() -> None:
    class Local(strategies.Strategy):
        pass

    name = own_objects.name_of(Local)
    assert name == "python:Local"
    own_objects.register(plugins.STRATEGY.group, name, Local)
    assert strategies.find(name) is Local
    with pytest.raises(ConfigError, match="model python:Local is an object"):
        models.find(name)
