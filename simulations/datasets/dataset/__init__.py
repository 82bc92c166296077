"""The steps to a data set: found, decoded, and kept on disk."""
