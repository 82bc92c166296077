"""The worker process that trains: its own side and the parent's side."""
