"""The server: rounds, cohort, screening, checkpoints, reports, and `flower-server`."""
