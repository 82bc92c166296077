"""One simulated training, from settings to a run directory."""
