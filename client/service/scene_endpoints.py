"""`/v1/locate`: the products on a photo of a scene, in boxes and with names."""

import math

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.classification.scenes import SceneOptions
from fedshelf.client.service.photo_endpoints import json_response, model_identity
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.problems import ProblemError
from fedshelf.common.inference.locators.box_predictor import LEAST_SCORE
from fedshelf.common.inference.scenes.locating import MAX_TILES


def scene_routes(service: PhotoService) -> list[Route]:
    """Return the route of a service's locator; it is a problem where there is none."""

    async def locate(request: Request) -> Response:
        options = _options(request)
        service.model.look()
        model = service.model.current
        if model.locator is None:
            raise ProblemError(
                404, "This service has no locator; it is started with --locator to have one."
            )
        async with service.bodies.body(request) as body:
            photos = await service.bodies.photos(request, body)
            if len(photos) != 1:
                raise ProblemError(400, f"Got {len(photos)} photos, expected one of a scene.")
            connection = request.state.connection
            found = await service.classifier.locate(
                model, photos[0].data, options, lambda: not connection.is_lost
            )
        return json_response(
            {
                "model": model_identity(service, model),
                "photo": photos[0].name,
                "width": found.width,
                "height": found.height,
                "score": found.score,
                "products": [product.to_json() for product in found.products],
            }
        )

    return [Route("/v1/locate", locate, methods=["POST"])]


def _options(request: Request) -> SceneOptions:
    """Return the options in the query of a request. Raises ProblemError 400."""
    tiles = _tiles(request.query_params.get("tiles", "1"))
    text = request.query_params.get("score")
    if text is None:
        return SceneOptions(tiles)
    try:
        score = float(text[:20])
    except ValueError:
        score = math.nan
    if not LEAST_SCORE <= score <= 1:
        raise ProblemError(400, f"score got {text[:50]!r}; expected a number, {LEAST_SCORE} to 1.")
    return SceneOptions(tiles, score)


def _tiles(text: str) -> int | None:
    """Return the tiles along a side; None: as many as the photo needs. Raises ProblemError 400."""
    if text == "auto":
        return None
    if text not in map(str, range(1, MAX_TILES + 1)):
        raise ProblemError(400, f"tiles got {text[:50]!r}; expected 1 to {MAX_TILES}, or auto.")
    return int(text)
