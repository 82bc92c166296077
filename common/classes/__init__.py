"""The classes of products: one spelling for each, and names of them for people."""
