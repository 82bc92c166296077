"""Messages between the server and its stores: orders, results, kits, and what each field may hold."""
