"""`/model.json`, `/model.onnx`, and the same of the locator: for the page on a device."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from fedshelf.client.service.device_model import read_device_locator, read_device_model
from fedshelf.client.service.photo_service import PhotoService
from fedshelf.client.service.requests.problems import ProblemError
from fedshelf.common.errors import FedshelfError
from fedshelf.common.inference.predictors.onnx_predictor import read_onnx


def device_routes(service: PhotoService) -> list[Route]:
    """Return the routes to the models' files. They need a key where the service does."""

    async def answer(
        file: Path | None, content_of: Callable[[Path], bytes], media_type: str
    ) -> Response:
        if file is None:
            raise ProblemError(404, "The model has no ONNX file, which a browser could run.")
        try:
            content = await asyncio.to_thread(content_of, file)
        except FedshelfError:  # its text names files of this machine
            raise ProblemError(404, "The model cannot be run by a browser.") from None
        return Response(content, media_type=media_type)

    def description(file: Path) -> bytes:
        has_locator = _can_run_locator(service.locator_onnx_file)
        return read_device_model(file, service.model.name, has_locator=has_locator).description

    async def model_json(_: Request) -> Response:
        return await answer(service.onnx_file, description, "application/json")

    async def model_onnx(_: Request) -> Response:
        return await answer(service.onnx_file, read_onnx, "application/octet-stream")

    async def locator_json(_: Request) -> Response:
        return await answer(
            service.locator_onnx_file,
            lambda file: read_device_locator(file).description,
            "application/json",
        )

    async def locator_onnx(_: Request) -> Response:
        return await answer(service.locator_onnx_file, read_onnx, "application/octet-stream")

    return [
        Route("/model.json", model_json, methods=["GET"]),
        Route("/model.onnx", model_onnx, methods=["GET"]),
        Route("/locator.json", locator_json, methods=["GET"]),
        Route("/locator.onnx", locator_onnx, methods=["GET"]),
    ]


def _can_run_locator(file: Path | None) -> bool:
    """Return whether a browser can run the locator in an ONNX file; None: there is none."""
    if file is None:
        return False
    try:
        read_device_locator(file)
    except FedshelfError:
        return False
    return True
