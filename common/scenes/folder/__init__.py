"""A folder of photos with boxes and masks, opened for training."""
