"""A page of pictures in one HTML file."""
