"""A finished mask network ready for use: which pixels of a photo are of products."""
