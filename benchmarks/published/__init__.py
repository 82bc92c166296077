"""Published results, reproduced: a TOML file for each cell, and one command for all cells."""
