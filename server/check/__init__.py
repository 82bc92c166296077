"""`flower-server check`: finds what would keep a server from starting, or stores from joining."""
