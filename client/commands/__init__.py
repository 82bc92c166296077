"""Commands of `flower-client` that look at a store or take it out."""
