"""A folder of photos, or a CSV file, as a person's disk has it: which photos, of which class, in which split."""
