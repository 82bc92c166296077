"""Commands and photos, as the tests of the deployment have them."""

from tests.deployment.conftest import command, environment, folders

__all__ = ["command", "environment", "folders"]
