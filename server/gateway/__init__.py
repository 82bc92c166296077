"""The gateway: a reverse proxy in front of Flower's SuperLink, and the only way in from outside.

It passes only the calls that stores need, and checks who sends them before it reads a body.
"""
