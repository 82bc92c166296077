"""Settings of all tests."""

import os

from hypothesis import settings

# Shared machines stall for seconds: how long an example takes says nothing. CI repeats the same examples, so that a
# failure there is about the change; elsewhere each run looks for new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
