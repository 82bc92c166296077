"""Code that several algorithms share: the two halves of a strategy, and corrections for skewed
classes.
"""
