"""`/v1/similar` and `/v1/indexed`: the photos of an index that look like others."""

import asyncio
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.photo_endpoints import json_response, model_identity, requested_number
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.problems import ProblemError
from fedshelf.common.images.decoding.content_digests import content_digest
from fedshelf.common.images.decoding.decode import NotUsableError
from fedshelf.common.images.decoding.picture import thumbnail
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.search.index_file import SearchIndex
from fedshelf.common.inference.search.query import QueryPhoto, search

DEFAULT_MATCHES = 10
THUMBNAIL_PIXELS = 256  # longer side


def similar_routes(service: PhotoService) -> list[Route]:
    """Return the routes of a service's index; they are problems where it has none."""

    async def similar(request: Request) -> Response:
        count = requested_number(request, "top", DEFAULT_MATCHES)
        service.model.look()
        model = service.model.current
        index = _index(model.index)
        async with service.bodies.body(request) as body:
            photos = await service.bodies.photos(request, body)
            answers = await service.answers(request, model, photos)
        query = []
        for photo, answer in zip(photos, answers, strict=True):
            if isinstance(answer, ProblemError):
                raise answer  # a search for the rest is not what was asked for
            embedding = unit_vectors(answer.embedding[None])[0]
            name = photo.name or "photo"
            query.append(QueryPhoto(name, Path(name), 1.0, content_digest(photo.data), embedding))
        matches = await asyncio.to_thread(search, index, query, count)
        rows = {name: row for row in range(len(index.photos)) for name in index.names(row)[:1]}
        found: list[dict[str, Any]] = [
            {
                "photo": match.names[0],
                "similarity": match.similarity,
                "copies": list(match.names[1:]),
                "picture": f"v1/indexed/{index.photos[rows[match.names[0]]].digest.hex()}",
            }
            for match in matches
        ]
        return json_response({"model": model_identity(service, model), "matches": found})

    async def indexed(request: Request) -> Response:
        index = _index(service.model.current.index)
        digest = request.path_params["digest"]
        for row, photo in enumerate(index.photos):
            if photo.digest.hex() == digest:
                try:
                    path = index.paths(row)[0]
                    content = await asyncio.to_thread(thumbnail, path, THUMBNAIL_PIXELS)
                except NotUsableError as reason:
                    raise ProblemError(404, f"The photo cannot be shown: {reason}.") from None
                return Response(content, media_type="image/jpeg")
        raise ProblemError(404, "There is no such photo in the index.")

    return [
        Route("/v1/similar", similar, methods=["POST"]),
        Route("/v1/indexed/{digest}", indexed, methods=["GET"]),
    ]


def _index(index: SearchIndex | None) -> SearchIndex:
    """Return the index. Raises ProblemError 404."""
    if index is None:
        raise ProblemError(
            404, "This service has no index of photos; it is started with --index to have one."
        )
    return index
