"""Is this store fit to take part? What `flower-client check` looks at, and the page that it leaves at the store."""

PAGE, FACTS = "health.html", "health.json"  # what `check` writes, in the store's home or elsewhere
