"""Views of a running run, from its files alone.

run directory --> RunReader --> RunState --+-- terminal    flower-server status
                                           +-- page, web   the live page, /health
                                           `-- prometheus  /metrics
"""
