"""A folder of photos, or a CSV file, as on a person's disk: its photos, their classes and their
splits.
"""
