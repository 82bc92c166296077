"""A model's parameters as one flat vector."""
