"""The arms of a comparison: runs of their own, each with a directory below the comparison's."""
