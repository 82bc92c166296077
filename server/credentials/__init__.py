"""Credentials of a chain: its certificate authority, its stores with their keys, and their kits.

DIR/server/   authority, server's certificate, stores.json    (Chain; on the server only)
DIR/kits/     one kit for each store: what a store needs to join
DIR/office/   the key that certifies stores to each other    (Office; never to stay on the server)
"""
