"""Checks that an update passes before it counts: screening, anomaly detection, reputation."""
