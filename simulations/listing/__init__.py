"""Runs side by side: what they reached, and the settings in which they differ."""
