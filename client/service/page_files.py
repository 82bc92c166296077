"""The page for people, at `/`: files of this package alone, under a policy that allows no others.

The page's own `<meta>` holds the same policy, so that any web server may hold its folder.
"""

import gzip
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.device_model import DeviceModel

PAGE_FOLDER = Path(__file__).parent / "page"
_INDEX = "index.html"
_PACKED = ".gz"  # ends the name of a file that is packed, and not its address
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".wasm": "application/wasm",
}
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]+)"')
_FROM_SERVICE = 'data-from="service"'
_FROM_FOLDER = 'data-from="folder"'


def page_paths() -> frozenset[str]:
    """Return the addresses of the page's files, which need no key."""
    return frozenset({"/"} | {f"/{name}" for name in _files()})


def page_routes() -> list[Route]:
    """Return a route for each of the page's files."""
    files = _files()
    found = _POLICY.search(files[_INDEX].read_text(encoding="utf-8"))
    assert found is not None
    common = {
        "content-security-policy": f"{found[1]}; frame-ancestors 'none'",  # not for a <meta>
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }

    async def page_file(request: Request) -> Response:
        name = request.url.path.removeprefix("/") or _INDEX
        file = files[name]
        encoding = {"content-encoding": "gzip"} if file.suffix == _PACKED else {}
        return Response(
            file.read_bytes(), headers=common | encoding, media_type=_TYPES[Path(name).suffix]
        )

    return [Route(path, page_file, methods=["GET"]) for path in sorted(page_paths())]


def page_folder(model: DeviceModel, locator: DeviceModel | None = None) -> dict[str, bytes]:
    """Return the files of the page as a folder that any web server can hold, by their names.

    Args:
        model: runs in the browser; nothing else does in such a folder
        locator: finds the products that the model names; None: there is none
    """
    contents = {
        name: gzip.decompress(file.read_bytes()) if file.suffix == _PACKED else file.read_bytes()
        for name, file in _files().items()
    }
    contents[_INDEX] = contents[_INDEX].replace(_FROM_SERVICE.encode(), _FROM_FOLDER.encode())
    contents |= {"model.onnx": model.onnx, "model.json": model.description}
    if locator is not None:
        contents |= {"locator.onnx": locator.onnx, "locator.json": locator.description}
    return contents


def _files() -> dict[str, Path]:
    """Return the page's files by their addresses without the first slash."""
    return {
        str(file.relative_to(PAGE_FOLDER)).removesuffix(_PACKED): file
        for file in sorted(PAGE_FOLDER.rglob("*"))
        if file.is_file()
    }
