"""Published results, run again: a TOML file per cell of a published table, and one command for all
of them.
"""
