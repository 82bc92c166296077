"""A data set given to stores: what a simulation trains on."""
