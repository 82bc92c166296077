"""Views of a running run, from its files alone: `flower-server status`, the live page, Prometheus
metrics.
"""
