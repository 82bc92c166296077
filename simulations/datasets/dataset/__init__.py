"""The data set itself: found, decoded, and kept on disk."""
