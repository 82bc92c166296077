"""A cache of pixels for each test."""

from tests.helpers.image_cache import cache_folder

__all__ = ["cache_folder"]
