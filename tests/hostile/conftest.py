"""Servers and stores as processes of their own, and a Flower grid in this one."""

from tests.helpers.deployment_fixtures import command, environment, folders, grid

__all__ = ["command", "environment", "folders", "grid"]
