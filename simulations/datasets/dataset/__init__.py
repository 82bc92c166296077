"""The steps to a data set: its description, its assembly, and its cache on disk."""
