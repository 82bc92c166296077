"""Suppression of the messages that libtiff prints about broken files.

Pillow reads TIFF by this library. It prints to the process's standard error, past Python, a line or
more for each file. Fedshelf reports elsewhere why a file is left out.
"""

import contextlib
import ctypes
import ctypes.util
from functools import cache
from pathlib import Path

import PIL
from PIL import features

# NULL: nothing is printed (libtiff's TIFFError(3))
_HANDLERS = ("TIFFSetErrorHandler", "TIFFSetWarningHandler")


@cache
def silence() -> bool:
    """Have libtiff print nothing, in this process alone. Return whether its library was found."""
    if not features.check("libtiff"):
        return True
    home = Path(PIL.__file__).parent
    # The wheels of Linux and macOS bundle it here; a Pillow built on this machine uses the
    # system's.
    bundled = [*home.parent.glob("pillow.libs/libtiff*"), *home.glob(".dylibs/libtiff*")]
    for path in map(str, bundled) if bundled else filter(None, [ctypes.util.find_library("tiff")]):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(path)  # the same one that Pillow has loaded
            for name in _HANDLERS:
                handler = getattr(library, name)
                handler.argtypes = [ctypes.c_void_p]
                handler.restype = ctypes.c_void_p
                handler(None)
            return True
    return False
