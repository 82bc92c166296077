"""Image files decoded to pixels, within limits on what a file may cost."""
