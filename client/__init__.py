"""The store: its data, its training, its worker process, and the command `flower-client`."""
