"""The service as a Starlette app."""

from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.device_endpoints import device_routes
from fedshelf.client.service.inference_protocol import protocol_routes
from fedshelf.client.service.page_files import page_routes
from fedshelf.client.service.photo_endpoints import photo_routes
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests import problems
from fedshelf.client.service.requests.metrics import CONTENT_TYPE
from fedshelf.client.service.scene_endpoints import scene_routes
from fedshelf.client.service.similar_endpoints import similar_routes

OPENAPI_FILE = Path(__file__).parent / "openapi.json"


def service_app(service: PhotoService) -> Starlette:
    """Return the app that answers for a service."""
    openapi = OPENAPI_FILE.read_bytes()

    async def metrics(_: Request) -> Response:
        service.model.look()
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE)

    async def description(_: Request) -> Response:
        return Response(openapi, media_type="application/json")

    return Starlette(
        routes=[
            *photo_routes(service),
            *similar_routes(service),
            *scene_routes(service),
            *protocol_routes(service),
            *device_routes(service),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/openapi.json", description, methods=["GET"]),
            *page_routes(),
        ],
        exception_handlers={
            problems.ProblemError: problems.answer_problem,
            problems.ClientGoneError: problems.answer_gone,
            HTTPException: problems.answer_http_exception,
            Exception: problems.answer_fault,
        },
    )
