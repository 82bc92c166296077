"""Making of a release from a run."""
