"""The schema, Flower's table and the page of settings say what the strategies declare."""

import subprocess
import sys
from pathlib import Path

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig
from fedshelf.common.config.model_train_strategy import CommonStrategyConfig

ROOT = Path(__file__).parents[3]


def test_what_is_written_is_what_strategies_declare() -> None:
    done = subprocess.run(
        [sys.executable, ".ci/generate_settings.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_schema_checks_a_setting_as_its_strategy_does() -> None:
    own = StrategyConfig.model_fields.keys() - CommonStrategyConfig.model_fields.keys()
    declared = {
        (key, strategy.settings_class())
        for strategy in strategies.STRATEGIES.values()
        for key in strategy.settings_class().model_fields
    }
    assert {key for key, _ in declared} == own
    for key, owner in declared:
        field = owner.model_fields[key]
        written = StrategyConfig.model_fields[key]
        assert (field.annotation, field.default) == (written.annotation, written.default)
        assert repr(field.metadata) == repr(written.metadata)


def test_the_schema_is_read_without_pytorch() -> None:
    program = "import sys, fedshelf.common.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout == b"False\n"
