"""The store's session with a server: it joins, polls, queues orders, and records its actions."""
