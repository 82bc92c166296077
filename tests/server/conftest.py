"""Fixtures of the server's tests."""

import pytest

from tests.helpers.by_hand import Notes
from tests.helpers.deployment_fixtures import command, environment, grid

__all__ = ["command", "environment", "grid"]


@pytest.fixture
def notes() -> Notes:
    return Notes()
