"""What a person sees of a run: console, page, pictures, TensorBoard events; all from history and summary."""

import os

from fedshelf.common.system.files import cache_directory

# matplotlib keeps a list of fonts between runs; nothing of a run goes to places that are not ours.
os.environ.setdefault("MPLCONFIGDIR", str(cache_directory() / "matplotlib"))
