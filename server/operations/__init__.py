"""Commands for the people who look after servers."""
