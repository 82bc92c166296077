"""Ways to spoil what is valid, and the one property that holds for all that decodes: a value, or a
documented error.
"""

import copy
import json
import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from fedshelf.common.errors import FedshelfError

ODD: list[Any] = [
    None,
    True,
    -1,
    0,
    2**63,
    2**64,
    10**400,
    -(10**400),
    1e308,
    float("nan"),
    float("inf"),
    "",
    "\x00",
    "../../etc",
    "\x1b]0;owned\x07",
    "\ud800",
    "é" * 300,
    "x" * 70_000,
    [],
    {},
    [[]],
    {"a": {"b": {}}},
    b"\xff".hex(),
]
DEEP = 50_000
NESTED = (
    b"[" * DEEP,
    b'{"a":' * DEEP,
    b"[" * DEEP + b"]" * DEEP,
    b"a = " + b"[" * DEEP,
    b"a." * 1000 + b"a = 1",
)


def odd() -> st.SearchStrategy[Any]:
    """Values that stand where nothing like them should."""
    return st.sampled_from(ODD).map(copy.deepcopy)


def examples(number: int) -> settings:
    """So many examples, and as many times more as FEDSHELF_FUZZ says."""
    many = number * int(os.environ.get("FEDSHELF_FUZZ", "1"))
    quiet = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=many, deadline=None, suppress_health_check=quiet)


def decodes(decode: Callable[[], Any], *others: type[Exception]) -> Any:
    """Return the result of `decode`, or its error, which must be ours or one of the `others` that
    it documents.
    """
    try:
        return decode()
    except (FedshelfError, *others) as error:
        return error


@st.composite
def spoiled(draw: st.DrawFn, *valid: bytes) -> bytes:
    """Arbitrary bytes, or valid ones after a few accidents."""
    if not valid or draw(st.integers(0, 9)) == 0:
        return draw(st.one_of(st.binary(max_size=200), st.sampled_from(NESTED)))
    content = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(1, 16))
        match draw(st.sampled_from(("flip", "cut", "tail", "double", "swap", "put", "number"))):
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[place : place + length]
            case "tail":
                del content[place:]
            case "double":
                content[place:place] = content[place : place + length]
            case "swap":
                other = draw(st.integers(0, max(0, len(content) - 1)))
                content[place : place + length] = content[other : other + length]
            case "put":
                content[place:place] = draw(st.binary(max_size=8))
            case "number":
                content[place : place + 8] = draw(
                    st.sampled_from((b"\xff" * 8, b"\x00" * 8, b"9" * 40, b"-1e999"))
                )
    return bytes(content)


@st.composite
def altered(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document with one to three values that are odd, missing, new, or in each other's
    place.
    """
    found = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(found))
        if not places:
            return draw(odd())
        parent, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(("odd", "gone", "new", "swap"))):
            case "gone":
                del parent[key]
            case "new" if isinstance(parent, dict):
                parent[draw(st.text(max_size=5))] = draw(odd())
            case "swap":
                other, name = draw(st.sampled_from(places))
                parent[key], other[name] = json.loads(json.dumps([other[name], parent[key]]))
            case _:
                parent[key] = draw(odd())
    return found


def as_json(document: Any) -> bytes:
    """Also of what no honest writer writes: NaN, halves of characters."""
    return json.dumps(document).encode(errors="surrogatepass")


def _places(found: Any) -> Any:
    parts = (
        found.items()
        if isinstance(found, dict)
        else enumerate(found)
        if isinstance(found, list)
        else ()
    )
    for key, part in list(parts):
        yield found, key
        yield from _places(part)
