"""What a person sees of a run: console, page, pictures, TensorBoard events; all from history and summary."""
