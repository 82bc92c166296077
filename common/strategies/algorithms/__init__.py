"""The federated algorithms: one file for each, with its equations and their sources.

A new one also gets a line in `STRATEGIES` of `common/strategies/__init__.py`.
"""
