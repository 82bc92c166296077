"""The names of the two files that a finished model is."""

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
