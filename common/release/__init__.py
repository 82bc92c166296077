"""Releases: a finished model in a folder that is signed as a whole, and the keys for it."""
