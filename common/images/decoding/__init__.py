"""Decoding of image files to pixels, with limits on the cost of a file."""
