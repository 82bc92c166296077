"""Differential privacy at the server: noise that hides a store, and the epsilon of a photo."""
