"""The page for people, at `/`: files of this package alone, under a policy that allows no others.

The page's own `<meta>` holds the same policy, so that any web server may hold its folder.
"""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PAGE_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]+)"')


def page_paths() -> frozenset[str]:
    """Return the addresses of the page's files, which need no key."""
    return frozenset({"/"} | {f"/{file.name}" for file in PAGE_FOLDER.iterdir()})


def page_routes() -> list[Route]:
    """Return a route for each of the page's files."""
    files = {file.name: file for file in sorted(PAGE_FOLDER.iterdir())}
    index = files["index.html"].read_text(encoding="utf-8")
    found = _POLICY.search(index)
    assert found is not None
    headers = {
        "content-security-policy": f"{found[1]}; frame-ancestors 'none'",  # not for a <meta>
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
    }

    async def page_file(request: Request) -> Response:
        file = files[request.url.path.removeprefix("/") or "index.html"]
        return Response(file.read_bytes(), headers=headers, media_type=_TYPES[file.suffix])

    return [Route(path, page_file, methods=["GET"]) for path in sorted(page_paths())]
