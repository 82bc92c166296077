"""`flower-server check`: the checks whether this machine is fit to serve a federation, before the
first store joins.
"""
