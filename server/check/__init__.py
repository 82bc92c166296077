"""`flower-server check`: is this machine fit to serve a federation? Asked before the first store joins."""
