"""Schema, Flower's table and the pages of settings and commands say what the code declares."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fedshelf.common.compression import CODECS
from fedshelf.common.config import MessagesConfig, StrategyConfig
from fedshelf.common.config.federation import CommonMessagesConfig
from fedshelf.common.config.field_types import Section
from fedshelf.common.config.model_train_strategy import CommonStrategyConfig
from fedshelf.common.strategies import STRATEGIES

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "script", [f"generate_{what}.py" for what in ("settings", "commands", "python", "notebooks")]
)
def test_what_is_written_is_what_the_code_declares(script: str) -> None:
    done = subprocess.run(
        [sys.executable, f".ci/{script}", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("members", "section", "shared"),
    [
        (STRATEGIES.values(), StrategyConfig, CommonStrategyConfig),
        (CODECS.values(), MessagesConfig, CommonMessagesConfig),
    ],
    ids=["strategies", "codecs"],
)
def test_the_schema_checks_a_setting_as_its_owner_does(
    members: Any, section: type[Section], shared: type[Section]
) -> None:
    declared = {
        (key, member.settings_class())
        for member in members
        for key in member.settings_class().model_fields
    }
    assert {key for key, _ in declared} == section.model_fields.keys() - shared.model_fields.keys()
    for key, owner in declared:
        field = owner.model_fields[key]
        written = section.model_fields[key]
        assert (field.annotation, field.default) == (written.annotation, written.default)
        assert repr(field.metadata) == repr(written.metadata)


def test_the_schema_is_read_without_pytorch() -> None:
    program = "import sys, fedshelf.common.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
