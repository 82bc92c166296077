"""The federated algorithms: one file for each, with its equations and their sources."""
