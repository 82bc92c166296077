"""Fixtures of the server's tests."""

import pytest

from tests.server.by_hand import Notes


@pytest.fixture
def notes() -> Notes:
    return Notes()
