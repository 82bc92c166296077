"""Fedshelf and its rivals on the same work, in turn; README.md lists the commands."""
