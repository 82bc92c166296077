"""The federated algorithms: one file for each, with its equations and where they are from."""
