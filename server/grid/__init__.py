"""The runtime over Flower's grid: stores reached by messages. Nothing else knows the grid."""
