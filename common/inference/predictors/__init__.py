"""A finished model ready for use: its description, its predictions and the verdicts on them."""
