"""Credentials of a chain: its certificate authority, its stores and their keys, and the kits that
it hands out.
"""
