"""Data sets of a person's own: arrays, PyTorch data sets, and data sets of single stores."""
