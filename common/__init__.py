"""Code that stores and server share: configuration, models, images, strategies, local training."""
