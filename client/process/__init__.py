"""The worker process that trains, seen from both sides."""
