"""The files of a run: directory, history, checkpoints and model."""
