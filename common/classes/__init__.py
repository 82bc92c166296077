"""The classes of products: one spelling for each, and display names for people."""
