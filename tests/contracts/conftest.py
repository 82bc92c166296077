"""One thread, as engines have it; and comparisons that say what differs."""

import pytest

pytest.register_assert_rewrite("tests.contracts.sameness")

from tests.simulations.conftest import one_thread  # noqa: E402

__all__ = ["one_thread"]
