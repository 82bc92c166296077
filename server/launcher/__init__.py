"""The launcher: it starts Flower's processes and watches them."""
