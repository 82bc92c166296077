"""Strategies in closed form, one file each, and the sums that they have in common."""
