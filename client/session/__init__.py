"""The store's session with a server: joins, polls, queues orders, and writes down what it did."""
