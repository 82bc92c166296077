"""The rivals: scripts that import nothing of ours and print one JSON line a round."""
