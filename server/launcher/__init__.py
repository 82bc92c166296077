"""Starts Flower's processes and watches them."""
