"""`/v2`: the Open Inference Protocol, which Triton, KServe and their clients speak.

https://github.com/kserve/open-inference-protocol, version 2 over REST, with Triton's extension of
binary tensor data for inputs. Photos come in the tensor `image` of type BYTES [N]: each element is
a photo's file, base64 in JSON, or as bytes after a length of four bytes (little endian).
"""

import base64
import binascii
import json
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.classification.served_model import PhotoAnswer, ServedModel
from fedshelf.client.service.photo_endpoints import json_response
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.bodies import UploadedPhoto
from fedshelf.client.service.requests.problems import ProblemError

PLATFORM = "fedshelf"
INPUT = "image"
# name -> type; the embedding is told to those who ask for it
OUTPUTS = {"label": "BYTES", "probabilities": "FP32", "verdict": "BYTES", "embedding": "FP32"}
DEFAULT_OUTPUTS = ("label", "probabilities", "verdict")
_HEAD_LENGTH = "inference-header-content-length"
_LENGTH_BYTES = 4


def protocol_routes(service: PhotoService) -> list[Route]:
    """Return the routes below `/v2`."""

    async def server_metadata(_: Request) -> Response:
        return json_response(
            {"name": PLATFORM, "version": "2", "extensions": ["binary_tensor_data"]}
        )

    async def health_live(_: Request) -> Response:
        return json_response({"live": True})

    async def health_ready(_: Request) -> Response:
        return json_response({"ready": True})

    async def model_ready(request: Request) -> Response:
        _check_name(service, request)
        return json_response({"name": service.model.name, "ready": True})

    async def model_metadata(request: Request) -> Response:
        _check_name(service, request)
        service.model.look()
        return json_response(_metadata(service, service.model.current))

    async def infer(request: Request) -> Response:
        _check_name(service, request)
        service.model.look()
        model = service.model.current
        async with service.bodies.body(request) as body:
            head, photos = _inputs(request, body, service.limits.max_photos_per_request)
            names = _wanted_outputs(head)
            found = await service.answers(request, model, photos)
        answers = []
        for answer in found:
            if isinstance(answer, ProblemError):
                raise answer  # the protocol has no answer for a part
            answers.append(answer)
        outputs = [_output(name, answers, model) for name in names]
        told = {"model_name": service.model.name, "model_version": model.version}
        told |= {"id": head["id"]} if "id" in head else {}
        return json_response(told | {"outputs": outputs})

    return [
        Route("/v2", server_metadata, methods=["GET"]),
        Route("/v2/health/live", health_live, methods=["GET"]),
        Route("/v2/health/ready", health_ready, methods=["GET"]),
        Route("/v2/models/{name}", model_metadata, methods=["GET"]),
        Route("/v2/models/{name}/ready", model_ready, methods=["GET"]),
        Route("/v2/models/{name}/infer", infer, methods=["POST"]),
    ]


def _check_name(service: PhotoService, request: Request) -> None:
    """Refuse a request for another model. Raises ProblemError 404."""
    if request.path_params["name"] != service.model.name:
        raise ProblemError(404, f"There is one model here, {service.model.name!r}.")


def _metadata(service: PhotoService, model: ServedModel) -> dict[str, Any]:
    shapes = {"probabilities": [-1, len(model.predictor.description.classes)]}
    shapes["embedding"] = [-1, -1]
    return {
        "name": service.model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": datatype, "shape": shapes.get(name, [-1])}
            for name, datatype in OUTPUTS.items()
        ],
    }


def _inputs(request: Request, body: bytes, most: int) -> tuple[dict[str, Any], list[UploadedPhoto]]:
    """Return the JSON of a request, and its photos. Raises ProblemError."""
    length = request.headers.get(_HEAD_LENGTH)
    if length is not None and not (
        length.isascii() and length.isdigit() and int(length[:12]) <= len(body)
    ):
        raise ProblemError(400, f"{_HEAD_LENGTH} got {length[:50]!r}; the body is shorter.")
    end = len(body) if length is None else int(length)
    try:
        head = json.loads(body[:end])
        (tensor,) = head["inputs"]
        if (tensor["name"], tensor["datatype"]) != (INPUT, "BYTES"):
            raise ValueError(tensor)
        size = tensor.get("parameters", {}).get("binary_data_size")
        files = (
            [base64.b64decode(text, validate=True) for text in _flat(tensor["data"])]
            if size is None
            else _binary_elements(body[end:], size)
        )
        if tensor["shape"] not in ([len(files)], [len(files), 1]):
            raise ValueError(tensor["shape"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        raise ProblemError(
            400,
            f"Expected one input {INPUT!r} of datatype BYTES whose shape tells how many photos it"
            " has, in base64 or as binary data.",
        ) from None
    if not files:
        raise ProblemError(400, "Got no photo.")
    if len(files) > most:
        raise ProblemError(413, f"Got {len(files)} photos in one request, expected at most {most}.")
    return head, [UploadedPhoto(None, data) for data in files]


def _flat(data: Any) -> list[Any]:
    """Return the elements of a tensor [N] or [N, 1]."""
    return [part[0] if isinstance(part, list) and len(part) == 1 else part for part in data]


def _binary_elements(data: bytes, size: Any) -> list[bytes]:
    """Return the elements of a tensor of BYTES. Raises ValueError."""
    if size != len(data):
        raise ValueError(size)
    elements: list[bytes] = []
    start = 0
    while start < len(data):
        length = int.from_bytes(data[start : start + _LENGTH_BYTES], "little")
        start += _LENGTH_BYTES
        if start + length > len(data):
            raise ValueError(length)
        elements.append(data[start : start + length])
        start += length
    return elements


def _wanted_outputs(head: dict[str, Any]) -> list[str]:
    """Return the names of the outputs that a request asks for. Raises ProblemError 400."""
    try:
        names = [output["name"] for output in head.get("outputs") or ()] or list(DEFAULT_OUTPUTS)
        known = [name for name in names if name in OUTPUTS]
    except (TypeError, KeyError):
        known = []
        names = ["?"]
    if known != names:
        raise ProblemError(400, f"outputs are {', '.join(OUTPUTS)}; got another.")
    return known


def _output(name: str, answers: list[PhotoAnswer], model: ServedModel) -> dict[str, Any]:
    """Return one output tensor."""
    classes = model.predictor.description.class_names
    match name:
        case "label":
            data = [classes[int(answer.probabilities.argmax())] for answer in answers]
            shape = [len(answers)]
        case "verdict":
            data = [answer.verdict for answer in answers]
            shape = [len(answers)]
        case _:
            field = "probabilities" if name == "probabilities" else "embedding"
            rows = np.stack([getattr(answer, field) for answer in answers])
            data = rows.ravel().tolist()
            shape = list(rows.shape)
    return {"name": name, "datatype": OUTPUTS[name], "shape": shape, "data": data}
