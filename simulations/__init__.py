"""Many stores on one machine: data sets, partitions, engines, and `flower-simulation`."""
