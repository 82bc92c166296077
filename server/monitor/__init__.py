"""A run while it goes on, read from its files alone: `flower-server status`, the live page, Prometheus metrics."""
