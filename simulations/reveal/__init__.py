"""Measurement of what an update reveals to the server, by attacks on updates of a run's settings.

The server is honest but curious: it gives the orders that the settings mean, knows the model that
it sent, and keeps each update. It owns photos of its own to try things on.
"""
