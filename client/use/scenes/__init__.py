"""The commands on photos and videos of scenes; a file for each."""
