"""A missing extra is one sentence that says how to get it."""

import json

import pytest

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.extras import import_extra


def test_a_module_that_is_there_is_returned() -> None:
    assert import_extra("json", "use") is json


def test_a_missing_one_is_told_with_its_extra() -> None:
    with pytest.raises(ConfigError, match=r"no_such_package.*pip install 'fedshelf\[use\]'"):
        import_extra("no_such_package.inner", "use")
