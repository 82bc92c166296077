"""Messages between the server and its stores: orders, results, kits, and what fields may hold."""
