"""`/v1` over a real socket, with a model whose answers a reader can compute."""

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.helpers.services import RunningService, coloured, coloured_index, running_service


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("model")) as service:
        yield service


@pytest.fixture
def client(running: RunningService) -> Iterator[httpx.Client]:
    with running.client() as client:
        yield client


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "image/png", None])
def test_a_raw_body_is_a_photo(client: httpx.Client, kind: str | None) -> None:
    """Also with the type that curl --data-binary sends."""
    headers = {} if kind is None else {"content-type": kind}
    answer = client.post("/v1/classify", content=coloured(30, 150, 20), headers=headers)
    assert answer.status_code == 200, answer.text
    (result,) = answer.json()["results"]
    assert result["photo"] is None
    assert result["verdict"] == "sure"
    assert [guess["class"] for guess in result["guesses"]] == ["green", "red", "blue"]
    assert result["guesses"][0]["probability"] == pytest.approx(0.75, abs=1e-3)


def test_a_form_has_many_photos_and_each_its_answer_or_problem(client: httpx.Client) -> None:
    files = [
        ("photo", ("a.png", coloured(200, 0, 0))),
        ("photo", ("b.txt", b"no photo")),
        ("photo", ("größe.png", coloured(0, 0, 200))),
    ]
    answer = client.post("/v1/classify", params={"top": 1}, files=files, data={"field": "no file"})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [result["photo"] for result in results] == ["a.png", "b.txt", "größe.png"]
    assert [r["guesses"][0]["class"] for r in results if "guesses" in r] == ["red", "blue"]
    assert results[1]["problem"]["status"] == 415


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (400, b"", {}),
        (400, coloured(1, 2, 3), {"content-type": "multipart/form-data"}),
        (400, b"--x\r\n\r\n", {"content-type": "multipart/form-data; boundary=x"}),
        (415, b"{}", {"content-type": "application/json"}),
        (415, b"<html>no photo</html>", {}),
        (422, coloured(9, 9, 9)[:80], {}),
    ],
)
def test_a_body_that_cannot_be_used_is_a_problem(
    client: httpx.Client, status: int, body: bytes, headers: dict[str, str]
) -> None:
    answer = client.post("/v1/classify", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["title"]
    assert problem["detail"].endswith(".")


def test_a_photo_is_explained_by_a_picture(client: httpx.Client) -> None:
    """Its left half is red and the right one black, so only the left can speak for red."""
    answer = client.post("/v1/explain", params={"class": "red"}, content=coloured(200, 60, 60))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/png"
    picture = np.asarray(Image.open(io.BytesIO(answer.content)).convert("RGB"), np.int16)
    height, width, _ = picture.shape
    assert (height, width) == (768, 768)
    plain = np.zeros_like(picture)
    plain[:, : width // 2] = (200, 60, 60)
    changed = np.abs(picture - plain).sum(axis=2) > 30
    assert changed[:, : width // 2 - 100].mean() > 0.9
    assert changed[:, width // 2 + 100 :].mean() < 0.1


def test_explanations_are_of_one_photo_and_a_known_class(client: httpx.Client) -> None:
    photo = coloured(200, 0, 0)
    assert client.post("/v1/explain", params={"class": "x"}, content=photo).status_code == 400
    files = [("a", ("a.png", photo)), ("b", ("b.png", photo))]
    assert client.post("/v1/explain", files=files).status_code == 400
    assert client.post("/v1/explain", content=b"no photo").status_code == 415


def test_similar_photos_need_an_index(client: httpx.Client) -> None:
    assert client.post("/v1/similar", content=coloured(200, 0, 0)).status_code == 404
    assert client.get("/v1/indexed/00").status_code == 404


def test_similar_photos_are_found_in_an_index(tmp_path: Path) -> None:
    """By direction of colour: the reddest first; the photo itself is left out."""
    index, shop = coloured_index(tmp_path)
    with running_service(tmp_path, index=index) as running, running.client() as client:
        assert client.get("/v1/model").json()["has_index"] is True
        photo = (shop / "red.png").read_bytes()
        matches = client.post("/v1/similar", params={"top": 2}, content=photo).json()["matches"]
        assert [match["photo"] for match in matches] == ["shop/rose.png", "shop/blue.png"]
        assert matches[0]["similarity"] > matches[1]["similarity"]
        picture = client.get(f"/{matches[0]['picture']}")
        assert picture.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(picture.content)).size == (256, 256)


def test_a_number_of_classes_is_checked(client: httpx.Client) -> None:
    for top in ("0", "-1", "many", "٣"):
        answer = client.post("/v1/classify", params={"top": top}, content=coloured(1, 2, 3))
        assert answer.status_code == 400


def test_other_addresses_and_methods_are_problems(client: httpx.Client) -> None:
    assert client.get("/nothing").json()["status"] == 404
    assert client.get("/v1/classify").json()["status"] == 405


def test_the_model_tells_itself(client: httpx.Client) -> None:
    told = client.get("/v1/model").json()
    assert told["name"] == "colours"
    assert told["classes"] == ["red", "green", "blue"]
    assert told["image_size"] == 8


def test_metrics_count_requests_and_photos(client: httpx.Client) -> None:
    def value(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    photos = value('fedshelf_photos_total{verdict="sure"}')
    client.post("/v1/classify", content=coloured(200, 0, 0))
    assert value('fedshelf_photos_total{verdict="sure"}') == photos + 1
    assert value('fedshelf_requests_total{endpoint="classify",status="200"}') >= 1
    assert value("fedshelf_photos_held") == 0


def test_every_address_is_described(client: httpx.Client, running: RunningService) -> None:
    described = client.get("/openapi.json").json()
    assert described["openapi"].startswith("3.")
    app = running.server.config.app._app  # type: ignore[union-attr]
    routes = {
        (route.path, method.lower())
        for route in app.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith(("/v1", "/v2", "/metrics", "/openapi"))
    }
    told = {(path, method) for path, methods in described["paths"].items() for method in methods}
    assert told == routes
