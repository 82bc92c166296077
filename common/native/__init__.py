"""Arithmetic that PyTorch has no fused operation for, in C, compiled where it runs."""
