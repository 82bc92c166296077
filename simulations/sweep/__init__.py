"""Sweeps: one simulation for each point of a grid of settings and each seed, and a choice.

    request --> points --> runs (processes side by side) --> outcome --> report.html
                  ^               |
                  +--- halving ---+   the better third goes on, for three times the rounds

Points are compared on validation images. Test images are looked at once, for the chosen point.
"""
