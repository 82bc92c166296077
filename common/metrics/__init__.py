"""Metrics that merge: counts of right and wrong answers, calibration, intervals."""
