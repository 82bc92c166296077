"""Check of the bundle that a server ships with a run: it may hold no code, as a store runs only
installed code.

Flower's bundle is a zip archive of an app's files and a list of them. Fedshelf's apps are
installed on both sides: their bundle holds only the `pyproject.toml` that names them.
"""

import hashlib
import io
import tomllib
import zipfile
import zlib
from typing import Any, NoReturn

from fedshelf.client.failures import StoreError

CLIENT_APP = "fedshelf.client.app:app"
# limit of the bundle and of each file in it; ours has less than one thousand
MAX_BUNDLE_BYTES = 16 * 1024

_PROJECT_FILE = "pyproject.toml"
_MANIFEST_FILE = ".info/CONTENT"
# first bytes of a zip archive, and the first of its last 22 bytes
_ZIP_START = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"
_ALLOWED_KEYS = {  # tables that name no code to install or to run
    (): {"project", "tool"},
    ("project",): {"name", "version", "description", "license"},
    ("tool",): {"flwr"},
    ("tool", "flwr"): {"app"},
    ("tool", "flwr", "app"): {"publisher", "components", "config"},
    ("tool", "flwr", "app", "components"): {"serverapp", "clientapp"},
}


def check_bundle(content: bytes) -> None:
    """Check that a bundle asks for the installed client app and holds no code; raise StoreError if
    not.
    """
    if len(content) > MAX_BUNDLE_BYTES:
        _refuse(f"it has {len(content)} bytes; expected at most {MAX_BUNDLE_BYTES}")
    project = _read_project_file(content)
    try:
        document = tomllib.loads(project.decode())
    except (ValueError, RecursionError):
        _refuse(f"its {_PROJECT_FILE} is not TOML")
    for path, allowed in _ALLOWED_KEYS.items():
        if unknown := sorted(set(_table(document, path)) - allowed):
            _refuse(
                f"its {_PROJECT_FILE} has {'.'.join([*path, unknown[0]])[:100]!r}, which is not"
                " in Fedshelf's own"
            )
    client_app = _table(document, ("tool", "flwr", "app", "components")).get("clientapp")
    if client_app != CLIENT_APP:
        _refuse(f"it asks for the client app {str(client_app)[:100]!r}; expected {CLIENT_APP!r}")


def _read_project_file(content: bytes) -> bytes:
    """Return the project file of an archive that holds this file, Flower's list of files, and
    nothing else.
    """
    # Python would run an archive with code in front
    if not content.startswith(_ZIP_START) or content[-22:-18] != _ZIP_END:
        _refuse("it is not a zip archive from its first byte to its last")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [entry.filename for entry in archive.infolist()]
            if sorted(names) != sorted((_PROJECT_FILE, _MANIFEST_FILE)):
                _refuse(
                    f"it holds {', '.join(map(repr, names[:5]))[:200]}; expected {_PROJECT_FILE}"
                    f" and {_MANIFEST_FILE} only"
                )
            project = _read_member(archive, _PROJECT_FILE)
            manifest = _read_member(archive, _MANIFEST_FILE)
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        RuntimeError,
        NotImplementedError,
        EOFError,
        OSError,
    ):
        _refuse("it is not a readable zip archive")
    if (
        manifest
        != f"{_PROJECT_FILE},{hashlib.sha256(project).hexdigest()},{8 * len(project)}".encode()
    ):
        _refuse(f"its {_MANIFEST_FILE} does not describe its {_PROJECT_FILE}")
    return project


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file's content; unpack no more than the allowed size."""
    with archive.open(name) as file:
        content = file.read(MAX_BUNDLE_BYTES + 1)
    if len(content) > MAX_BUNDLE_BYTES:
        _refuse(f"its {name} unpacks to more than {MAX_BUNDLE_BYTES} bytes")
    return content


def _table(document: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """Return the table at `path`, empty if there is none."""
    table = document
    for key in path:
        inner = table.get(key, {})
        if not isinstance(inner, dict):
            _refuse(f"its {_PROJECT_FILE} has no table {'.'.join(path)!r}")
        table = inner
    return table


def _refuse(why: str) -> NoReturn:
    raise StoreError(
        "policy", f"The app that the server sent with the run is refused: {why}.", "bundle"
    )
