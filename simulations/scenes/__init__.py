"""Scenes of a shop's own products, composed from photos of single ones."""
