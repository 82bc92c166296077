"""Settings of all tests."""

import atexit
import os
import shutil
import tempfile

from hypothesis import settings

# What a store keeps for good is nobody's business but the test's.
os.environ["FEDSHELF_HOME"] = tempfile.mkdtemp(prefix="fedshelf-state-")
atexit.register(shutil.rmtree, os.environ["FEDSHELF_HOME"], ignore_errors=True)

# Shared machines stall for seconds: how long an example takes says nothing. CI repeats the same examples, so that a
# failure there is about the change; elsewhere each run looks for new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")
