"""Commands of `flower-client` that show a store's state or remove the store."""
