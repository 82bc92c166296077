"""Who may join: the chain's certificate authority, its stores and their keys, and the kits that it hands out."""
