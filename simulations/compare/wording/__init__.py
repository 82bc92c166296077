"""The results of a comparison in sentences."""
