"""`/v1`: the classes of photos, and the model that tells them, as JSON."""

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.classification.served_model import PhotoAnswer, ServedModel
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.problems import Endpoint, ProblemError
from fedshelf.common.inference.locators.box_predictor import BoxPredictor
from fedshelf.common.inference.scenes.locating import counting_score
from fedshelf.common.inference.scenes.scene_reader import names_products

DEFAULT_TOP = 3  # classes told for each photo
_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def classify_endpoint(service: PhotoService) -> Endpoint:
    """Return the endpoint of `POST /v1/classify`."""

    async def classify(request: Request) -> Response:
        top = requested_number(request, "top", DEFAULT_TOP)
        service.model.look()
        model = service.model.current
        async with service.bodies.body(request) as body:
            photos = await service.bodies.photos(request, body)
            answers = await service.answers(request, model, photos)
        results = [
            {"photo": photo.name} | _result(answer, model, top)
            for photo, answer in zip(photos, answers, strict=True)
        ]
        return json_response({"model": model_identity(service, model), "results": results})

    return classify


def photo_routes(service: PhotoService) -> list[Route]:
    """Return the routes below `/v1`, which other methods of `/v1/classify` find, too."""

    async def explain(request: Request) -> Response:
        service.model.look()
        model = service.model.current
        class_index = _class_index(request, model)
        async with service.bodies.body(request) as body:
            photos = await service.bodies.photos(request, body)
            if len(photos) != 1:
                raise ProblemError(400, f"Got {len(photos)} photos, expected one to explain.")
            connection = request.state.connection
            content = await service.classifier.explain(
                model, photos[0].data, class_index, lambda: not connection.is_lost
            )
        return Response(content, media_type="image/png")

    async def model(_: Request) -> Response:
        service.model.look()
        current = service.model.current
        description = current.predictor.description
        form = current.predictor.pixel_format
        return json_response(
            model_identity(service, current)
            | {
                "classes": list(description.class_names),
                "image_size": form.image_size,
                "channels": form.channels,
                "denoise": form.denoise,
                "on_device": service.onnx_file is not None and not form.denoise,
                "has_index": current.index is not None,
                "has_locator": current.locator is not None,
                "locator": _locator_description(service.model.locator_name, current.locator),
                "tells_unknown": description.energy_threshold is not None,
                "max_photos": service.limits.max_photos_per_request,
                "max_bytes": service.limits.max_body_bytes,
            }
        )

    return [
        Route("/v1/classify", classify_endpoint(service), methods=["POST"]),
        Route("/v1/explain", explain, methods=["POST"]),
        Route("/v1/model", model, methods=["GET"]),
    ]


def _locator_description(name: str, locator: BoxPredictor | None) -> dict[str, Any] | None:
    """Return what clients need to know of the locator; None: there is none."""
    if locator is None:
        return None
    description = locator.description
    return {
        "name": name,
        "classes": list(description.class_names) if names_products(description) else [],
        "image_size": locator.pixel_format.image_size,
        "score": counting_score(locator),
    }


def json_response(values: Any) -> Response:
    """Return an answer with JSON."""
    return Response(_JSON.encode(values), media_type="application/json")


def model_identity(service: PhotoService, model: ServedModel) -> dict[str, Any]:
    """Return the model's name and version, which every answer has."""
    return {"name": service.model.name, "version": model.version}


def requested_number(request: Request, name: str, default: int) -> int:
    """Return a number, 1 or more, in the query of a request. Raises ProblemError 400."""
    if not request.scope["query_string"]:
        return default
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= 10_000):
        raise ProblemError(400, f"{name} got {text[:50]!r}; expected a number, 1 or more.")
    return int(text[:9])


def _class_index(request: Request, model: ServedModel) -> int | None:
    """Return the class that a request names; None: it names none. Raises ProblemError 400."""
    name = request.query_params.get("class")
    names = model.predictor.description.class_names
    if name is None:
        return None
    if name not in names:
        raise ProblemError(400, f"class got {name[:100]!r}, which is no class of the model.")
    return names.index(name)


def _result(answer: PhotoAnswer | ProblemError, model: ServedModel, top: int) -> dict[str, Any]:
    """Return what is told of one photo."""
    if isinstance(answer, ProblemError):
        return {"problem": answer.to_json()}
    names = model.predictor.description.class_names
    return {
        "verdict": answer.verdict,
        "guesses": [
            {"class": names[index], "probability": float(answer.probabilities[index])}
            for index in answer.order[:top]
        ],
    }
