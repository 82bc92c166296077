"""Search in a store's photos by what a model sees: an index file, exact search, and how like the
indexed photos a new one is.
"""
