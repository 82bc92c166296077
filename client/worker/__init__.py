"""Training at a store, without process or network."""
