"""The commands for people who use a finished model on their own photos; a file for each."""
