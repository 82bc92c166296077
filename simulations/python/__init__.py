"""The Python interface to simulations: `fedshelf.simulate`, `compare`, `sweep` and `runs`."""
