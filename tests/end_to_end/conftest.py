"""Servers and stores as processes of their own; one cache for all simulations, one thread."""

from tests.helpers.deployment_fixtures import command, environment, folders
from tests.helpers.simulation_fixtures import cache, one_thread

__all__ = ["cache", "command", "environment", "folders", "one_thread"]
