"""A plain Flower app, as Flower's quickstart for PyTorch has it: FedAvg, and a client that trains
and evaluates.
"""
