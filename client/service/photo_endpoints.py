"""`/v1`: the classes of photos, and the model that tells them, as JSON."""

import json
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.classification.served_model import PhotoAnswer, ServedModel
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.problems import ProblemError

DEFAULT_TOP = 3  # classes told for each photo


def photo_routes(service: PhotoService) -> list[Route]:
    """Return the routes below `/v1`."""

    async def classify(request: Request) -> Response:
        top = _top(request)
        service.model.look()
        model = service.model.current
        async with service.bodies.body(request) as body:
            photos = await service.bodies.photos(request, body)
            answers = await service.answers(request, model, photos)
        results = [
            {"photo": photo.name} | _result(answer, model, top)
            for photo, answer in zip(photos, answers, strict=True)
        ]
        return json_response({"model": _identity(service, model), "results": results})

    async def model(_: Request) -> Response:
        service.model.look()
        current = service.model.current
        description = current.predictor.description
        form = current.predictor.pixel_format
        return json_response(
            _identity(service, current)
            | {
                "classes": list(description.class_names),
                "image_size": form.image_size,
                "channels": form.channels,
                "denoise": form.denoise,
                "explains": False,
                "tells_unknown": description.energy_threshold is not None,
                "max_photos": service.limits.max_photos_per_request,
                "max_bytes": service.limits.max_body_bytes,
            }
        )

    return [
        Route("/v1/classify", classify, methods=["POST"]),
        Route("/v1/model", model, methods=["GET"]),
    ]


def json_response(values: Any) -> Response:
    """Return an answer with JSON."""
    content = json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Response(content, media_type="application/json")


def _identity(service: PhotoService, model: ServedModel) -> dict[str, Any]:
    return {"name": service.model.name, "version": model.version}


def _top(request: Request) -> int:
    """Return the number of classes that a request wants for each photo. Raises ProblemError 400."""
    text = request.query_params.get("top", str(DEFAULT_TOP))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 10_000):
        raise ProblemError(400, f"top got {text[:50]!r}; expected a number of classes, 1 or more.")
    return int(text[:9])


def _result(answer: PhotoAnswer | ProblemError, model: ServedModel, top: int) -> dict[str, Any]:
    """Return what is told of one photo."""
    if isinstance(answer, ProblemError):
        return {"problem": answer.to_json()}
    names = model.predictor.description.class_names
    order = np.argsort(-answer.probabilities, kind="stable")[:top]
    return {
        "verdict": answer.verdict,
        "guesses": [
            {"class": names[index], "probability": float(answer.probabilities[index])}
            for index in order
        ],
    }
