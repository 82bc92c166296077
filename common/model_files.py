"""The names of the two files of a finished model."""

WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"
