"""One cache for the tests of simulations, and one thread."""

from tests.helpers.simulation_fixtures import cache, one_thread

__all__ = ["cache", "one_thread"]
