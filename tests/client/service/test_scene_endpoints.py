"""`/v1/locate` over a real socket: coloured squares on a dark photo."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.helpers.hand_made_models import write_square_locator
from tests.helpers.services import running_service


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("service")
    locator = write_square_locator(folder / "locator" / "locator.onnx")
    with running_service(folder, locator=locator) as running, running.client() as client:
        yield client


def scene(side: int = 160) -> bytes:
    """A red and a blue square of 16 pixels, on a photo of `side` by `side`."""
    pixels = np.zeros((side, side, 3), np.uint8)
    pixels[50:66, 22:38, 0] = 255
    pixels[50:66, 54:70, 2] = 255
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_products_have_boxes_and_names(client: httpx.Client) -> None:
    answer = client.post("/v1/locate", files={"photo": ("shelf.png", scene())})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["photo"], told["width"], told["height"]) == ("shelf.png", 160, 160)
    assert sorted(
        (product["box"], product["guesses"][0]["class"]) for product in told["products"]
    ) == [([22, 50, 38, 66], "red"), ([54, 50, 70, 66], "blue")]
    assert told["score"] == 0.3
    assert {product["verdict"] for product in told["products"]} <= {"sure", "unsure", "unknown"}
    assert told["model"].keys() == {"name", "version"}


def test_the_model_is_told_with_its_locator(client: httpx.Client, tmp_path: Path) -> None:
    model = client.get("/v1/model").json()
    assert model["classes"] == ["red", "green", "blue"]
    assert model["has_locator"] is True
    # it names nothing itself, and no validation photos chose its score
    told = {"name": "locator", "classes": [], "image_size": 160, "score": 0.3}
    assert model["locator"] == told
    described = client.get("/openapi.json").json()["components"]["schemas"]
    assert set(described["Locator"]["required"]) == told.keys()
    own = write_square_locator(
        tmp_path / "shelves.onnx",
        side=96,
        classes=("milk", "tea", "oil"),
        provenance={"counting": {"threshold": 0.42}},
    )
    with running_service(tmp_path, locator=own) as running, running.client() as other:
        assert other.get("/v1/model").json()["locator"] == {
            "name": "shelves",
            "classes": ["milk", "tea", "oil"],
            "image_size": 96,
            "score": 0.42,
        }


def test_tiles_find_what_is_small(client: httpx.Client) -> None:
    """On the whole photo a square is 9 pixels of 160; tiles are of 160 pixels."""
    assert client.post("/v1/locate", content=scene(280), headers=PNG).json()["products"] == []
    for tiles in ("2", "auto"):
        found = client.post(f"/v1/locate?tiles={tiles}", content=scene(280), headers=PNG).json()
        assert sorted(product["box"] for product in found["products"]) == [
            [22, 50, 38, 66],
            [54, 50, 70, 66],
        ]


PNG = {"content-type": "image/png"}


@pytest.mark.parametrize(
    ("query", "content", "status", "detail"),
    [
        ("?tiles=13", scene(), 400, "tiles got '13'"),
        ("?tiles=0", scene(), 400, "expected 1 to 12, or auto"),
        ("?score=high", scene(), 400, "score got 'high'"),
        ("?score=nan", scene(), 400, "score got 'nan'"),
        ("?score=0", scene(), 400, "score got '0'"),
        ("", b"", 400, "Got no photo"),
        ("", b"a shopping list", 415, "not an image"),
        ("", scene()[:120], 422, "cannot be used"),
    ],
)
def test_other_requests_are_problems(
    client: httpx.Client, query: str, content: bytes, status: int, detail: str
) -> None:
    answer = client.post(f"/v1/locate{query}", content=content, headers=PNG)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert detail in answer.json()["detail"]


def test_one_photo_at_a_time(client: httpx.Client) -> None:
    answer = client.post("/v1/locate", files=[("a", ("a.png", scene())), ("b", ("b.png", scene()))])
    assert answer.status_code == 400
    assert "expected one of a scene" in answer.json()["detail"]


def test_a_service_without_a_locator_says_so(tmp_path: Path) -> None:
    with running_service(tmp_path) as running, running.client() as client:
        answer = client.post("/v1/locate", content=scene(), headers=PNG)
        assert answer.status_code == 404
        assert "--locator" in answer.json()["detail"]
        model = client.get("/v1/model").json()
        assert (model["has_locator"], model["locator"]) == (False, None)
