"""The rivals, each a script of its own that imports nothing of ours and prints one JSON line a
round.
"""
