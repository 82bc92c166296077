"""Metrics that merge: counts of correct and wrong predictions, calibration, proportions."""
