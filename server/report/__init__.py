"""Views of a run for people: console, page, pictures, TensorBoard events.

All are made from its history and summary.
"""

import os

from fedshelf.common.system.files import cache_directory

# matplotlib keeps a list of fonts between runs; keep it in our own cache directory.
os.environ.setdefault("MPLCONFIGDIR", str(cache_directory() / "matplotlib"))
