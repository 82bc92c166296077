"""A folder of photos, or a CSV file, on a person's disk: its photos, their classes and splits."""
