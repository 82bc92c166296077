"""Photos, from a folder on a disk to batches on a device: scan, decode, cache, split, augment."""
