"""From photos' bytes to a model's answers: decoding, batches, and the model's replacement."""
