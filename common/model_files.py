"""The names of the two files of a finished model."""

WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
