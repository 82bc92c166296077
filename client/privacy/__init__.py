"""The store's memory of what its answers have told of its photos: the ledger."""
