"""Compiled code can only be tested where there is a compiler; without one, runs do without it,
too.
"""

import pytest

from fedshelf.common.native import compiler


@pytest.fixture(autouse=True)
def needs_compiler() -> None:
    if not compiler.has_compiler():
        pytest.skip("needs a C compiler: cc, gcc or clang")
