"""Explanation of a prediction: the parts of a photo that speak for a class."""
