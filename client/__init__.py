"""The store: its data, its work, its process, and `flower-client`."""
