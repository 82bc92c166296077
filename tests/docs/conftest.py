"""Servers and stores as processes of their own."""

from tests.helpers.deployment_fixtures import command, environment

__all__ = ["command", "environment"]
