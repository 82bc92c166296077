"""`flower-client check`: the checks whether a store is fit to take part, and the page that they leave at the store."""

PAGE, FACTS = "health.html", "health.json"  # files that `check` writes, in the store's home or elsewhere
