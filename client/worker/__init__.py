"""Training at a store, independent of process and network."""
