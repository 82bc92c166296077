"""Differential privacy of a store, at the server: its refusals, its noise, and what it costs."""
