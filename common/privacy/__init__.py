"""Privacy that can be proved: differential privacy of photos and stores, and the secure sum."""
