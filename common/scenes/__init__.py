"""Products in a scene: boxes, masks, and the files that hold them."""
