"""Requests of strangers: bounded while they come, counted, and refused in one form."""
