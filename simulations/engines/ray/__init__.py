"""The engine that spreads a cohort over a Ray cluster."""
