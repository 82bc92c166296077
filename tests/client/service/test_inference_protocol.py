"""The Open Inference Protocol, as its specification writes requests."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.helpers.services import coloured, running_service

PHOTOS = (coloured(200, 0, 0), coloured(0, 0, 200))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("model")
    with running_service(folder) as running, running.client() as client:
        yield client


def infer(client: httpx.Client, **changed: Any) -> httpx.Response:
    data = [base64.b64encode(photo).decode() for photo in PHOTOS]
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES", "data": data} | changed
    return client.post("/v2/models/colours/infer", json={"id": "7", "inputs": [tensor]})


def outputs(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def test_photos_in_base64_are_told(client: httpx.Client) -> None:
    answer = infer(client)
    assert answer.json()["id"] == "7"
    found = outputs(answer)
    assert found["label"]["data"] == ["red", "blue"]
    assert found["verdict"]["data"] == ["sure", "sure"]
    assert found["probabilities"]["shape"] == [2, 3]
    assert found["probabilities"]["data"] == pytest.approx([1, 0, 0, 0, 0, 1], abs=1e-4)
    assert infer(client, shape=[2, 1]).status_code == 200


def test_photos_as_binary_data_are_told_alike(client: httpx.Client) -> None:
    data = b"".join(len(photo).to_bytes(4, "little") + photo for photo in PHOTOS)
    tensor = {"name": "image", "shape": [2], "datatype": "BYTES"}
    tensor |= {"parameters": {"binary_data_size": len(data)}}  # type: ignore[dict-item]
    head = json.dumps({"inputs": [tensor], "outputs": [{"name": "label"}, {"name": "embedding"}]})
    answer = client.post(
        "/v2/models/colours/infer",
        content=head.encode() + data,
        headers={"inference-header-content-length": str(len(head))},
    )
    found = outputs(answer)
    assert list(found) == ["label", "embedding"]
    assert found["label"]["data"] == ["red", "blue"]
    assert found["embedding"]["shape"] == [2, 3]


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "images"},
        {"datatype": "UINT8"},
        {"shape": [3]},
        {"shape": "2"},
        {"data": ["###", "###"]},
        {"data": 5},
        {"data": [1, 2]},
        {"parameters": {"binary_data_size": 10}},
        {"shape": [0], "data": []},
    ],
)
def test_other_tensors_are_refused(client: httpx.Client, changed: dict[str, Any]) -> None:
    assert infer(client, **changed).status_code == 400


def test_a_request_with_a_broken_photo_is_refused_as_a_whole(client: httpx.Client) -> None:
    data = [base64.b64encode(photo).decode() for photo in (PHOTOS[0], b"no photo")]
    assert infer(client, data=data).status_code == 415


def test_health_and_metadata_are_told(client: httpx.Client) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models/colours/ready").json()["ready"] is True
    assert client.get("/v2").json()["name"] == "fedshelf"
    told = client.get("/v2/models/colours").json()
    assert told["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert client.get("/v2/models/other").status_code == 404
