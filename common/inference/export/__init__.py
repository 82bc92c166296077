"""Export of a finished model to forms that other programs run."""
