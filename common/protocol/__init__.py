"""Messages between the server and its stores: orders, results, kits, and the allowed values of each
field.
"""
