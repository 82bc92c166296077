"""One thread, as engines have it."""

from tests.helpers.simulation_fixtures import one_thread

__all__ = ["one_thread"]
