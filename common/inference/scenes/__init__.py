"""Use of a finished locator: products on a shelf or in a video, their names, places and tracks."""
