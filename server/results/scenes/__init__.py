"""Test photos of scenes: the judgement of each, and those that the report shows."""

# of the run directory; the outcome names it, as one of an earlier outcome may lie there
EXAMPLES_FILE = "test-scenes.json"
