"""Lists of photos: files of a folder, rows of a table, and the split of each photo."""
