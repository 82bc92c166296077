"""Is this store fit to take part? What `flower-client check` looks at, and the page that it leaves at the store."""
