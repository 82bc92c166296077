"""The runtime over Flower's grid, which reaches stores by messages.

No other package knows the grid.
"""
