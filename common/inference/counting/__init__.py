"""The number of pieces of each class on photos, with an interval, and what changed between two."""
