"""The gateway: a reverse proxy, the only access from outside, which passes only stores' calls that
they need.
"""
