"""Names of stores, runs, classes and model files, which go into histories and reports."""

import re
import unicodedata

from fedshelf.common.errors import ConfigError
from fedshelf.common.text import is_sanitized

MAX_CLASS_CHARACTERS = 200  # of a class's name
MAX_CLASSES = 10_000
MAX_CLASS_NAMES_BYTES = 2**18  # of the names of all classes of one store

# the two files of a finished model
WEIGHTS_FILE = "model.safetensors"
DESCRIPTION_FILE = "model.json"
# the further files of a release
ONNX_FILE = "model.onnx"
CARD_FILE = "card.md"
ENVELOPE_FILE = "release.json"
# of a comparison, beside the config.toml of its runs
COMPARISON_FILE = "options.json"
# sub-folder of a model at a store: the store's own version of it (see `client.worker.export`)
OWN_MODEL_FOLDER = "own"
# of the content of model.json in the metadata of model.safetensors
DESCRIPTION_KEY = "description"

_NAME_PATTERN = re.compile(r"\w[\w .-]{0,62}")
_RUN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNFIT = re.compile(r"[^\w .-]+")


def check_store_name(name: str) -> str:
    """Return the name.

    Raises:
        ConfigError: it does not have 1 to 63 letters, digits, spaces, dots, - or _
    """
    if not _NAME_PATTERN.fullmatch(name) or name != name.strip():
        raise ConfigError(
            f"Store name {name[:80]!r} cannot be used; expected 1 to 63 letters, digits, spaces,"
            " dots, - or _, starting with a letter or digit."
        )
    return name


def is_run_name(name: str) -> bool:
    """Return whether stores may call a run so: a store's name with no dot at the end."""
    return bool(_NAME_PATTERN.fullmatch(name)) and name == name.strip().rstrip(".")


def run_name(text: str) -> str:
    """Return the name by which stores call a run, given the name of its directory.

    Characters that do not fit become dashes; "run" if nothing is left.
    """
    name = _UNFIT.sub("-", unicodedata.normalize("NFC", text)).lstrip("-. ")[:63].rstrip(". ")
    return name if is_run_name(name) else "run"


def check_run_id(text: str) -> str:
    """Return the run's identity.

    Raises:
        ValueError: it cannot be the name of a folder at stores
    """
    if not _RUN_ID.fullmatch(text):
        raise ValueError(f"got {text[:80]!r}, expected 1 to 64 letters, digits, - or _")
    return text


def is_class_name(name: object) -> bool:
    """Return whether this may be a class's name, which is shown to people at all stores."""
    return isinstance(name, str) and bool(name) and is_sanitized(name, MAX_CLASS_CHARACTERS)
