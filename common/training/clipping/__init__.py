"""Sums of the clipped gradients of single images."""
