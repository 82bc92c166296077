"""Fixtures of the server's tests."""

import pytest

from tests.helpers.by_hand import Notes
from tests.helpers.deployment_fixtures import grid

__all__ = ["grid"]


@pytest.fixture
def notes() -> Notes:
    return Notes()
