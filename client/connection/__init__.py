"""The store's connection to the server: Flower's Fleet API over HTTP.

Flower's private names are used here alone.
"""
