"""Training: the loop over rounds, from the first model to the final evaluation."""
