"""Settings that are chosen for a run: those of a recipe, and those that the machine decides."""
