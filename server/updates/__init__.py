"""What an update passes before it counts: screening, detection of anomalies, reputation of stores."""
