"""`flower-client check`: the checks whether a store is fit to take part, and the page that they
leave at the store.
"""

# files that `check` writes, in the store's home or elsewhere
PAGE_FILE = "health.html"
FACTS_FILE = "health.json"
