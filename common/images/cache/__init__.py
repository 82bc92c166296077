"""Decoded images on disk, so that photos are decoded once."""
