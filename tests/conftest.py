"""Settings of all tests."""

import atexit
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

# Comparisons in helpers say what differs, as those in tests do.
pytest.register_assert_rewrite("tests.helpers")

# What a store keeps for good is nobody's business but the test's.
os.environ["FEDSHELF_HOME"] = tempfile.mkdtemp(prefix="fedshelf-state-")
atexit.register(shutil.rmtree, os.environ["FEDSHELF_HOME"], ignore_errors=True)

# Tests of photos train the small network, unless they are about pretrained ones.
os.environ.setdefault("FEDSHELF_RECIPE", "scratch")

# As engines have it: two workers with two threads each on two cores wait for each other. Before
# torch is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Shared machines stall for seconds: how long an example takes says nothing. CI repeats the same
# examples, so that a failure there is about the change; elsewhere each run looks for new ones.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with slow tests of minutes first, so that all processes end together: a file stays
    in one. Slow tests have time on a busy machine.
    """
    of_file = Counter[Path]()
    for item in items:
        of_file[item.path] += minutes(item)
    items.sort(key=lambda item: of_file[item.path], reverse=True)
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(900))


def minutes(item: pytest.Item) -> float:
    """Return the minutes that a test declares for two cores, `slow(minutes=1)`; others count as
    short.
    """
    marks = item.iter_markers("slow")
    return max((float(mark.kwargs.get("minutes", 0)) for mark in marks), default=0.0)
