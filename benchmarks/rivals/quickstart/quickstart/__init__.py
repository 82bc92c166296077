"""A plain Flower app like Flower's quickstart for PyTorch: FedAvg, and a client."""
