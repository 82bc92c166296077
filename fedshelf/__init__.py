"""Train one product-image classifier across many stores; the photos never leave them."""
