"""Views of a run for people: console, page, pictures, TensorBoard events.

history.jsonl, summary.json, ... --> run_data --> naming --> sections, charts --> page, png
each round as it is done ----------------------------------> console, json_log, tensorboard
"""

import os

from fedshelf.common.system.files import cache_directory

# matplotlib keeps a list of fonts between runs; keep it in our own cache directory.
os.environ.setdefault("MPLCONFIGDIR", str(cache_directory() / "matplotlib"))
