"""Local training, evaluation and prediction, the same in every runtime."""
