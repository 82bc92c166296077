"""One service: the model, the bounds, and the parts that answer requests."""

from collections.abc import Sequence
from pathlib import Path

from starlette.requests import Request

from fedshelf.client.service.classification.classifier import PhotoClassifier
from fedshelf.client.service.classification.micro_batcher import MicroBatcher
from fedshelf.client.service.classification.served_model import ModelFiles, PhotoAnswer, ServedModel
from fedshelf.client.service.requests.bodies import BodyReader, UploadedPhoto
from fedshelf.client.service.requests.limits import ServiceLimits
from fedshelf.client.service.requests.metrics import ServiceMetrics
from fedshelf.client.service.requests.problems import ProblemError


class PhotoService:
    """The parts that all endpoints share.

    Args:
        model: answers
        limits: of requests
        onnx_file: of the model, for browsers that run it themselves; None: it has none
        locator_onnx_file: of its locator, for the same; None: there is none
    """

    def __init__(
        self,
        model: ModelFiles,
        limits: ServiceLimits,
        onnx_file: Path | None = None,
        locator_onnx_file: Path | None = None,
    ) -> None:
        self.model = model
        self.limits = limits
        self.onnx_file = onnx_file
        self.locator_onnx_file = locator_onnx_file
        self.metrics = ServiceMetrics(limits.max_batch)
        self.bodies = BodyReader(limits)
        self.classifier = PhotoClassifier(
            limits, MicroBatcher(limits.max_batch, self.metrics.count_batch)
        )
        self.metrics.gauge("photos_held", "Photos under way.", lambda: self.classifier.photos_held)
        self.metrics.gauge("model_reloads", "New models taken up.", lambda: model.reloads)
        self.metrics.gauge(
            "model_reload_failures",
            "New models that could not be used.",
            lambda: model.failed_reloads,
        )

    async def answers(
        self, request: Request, model: ServedModel, photos: Sequence[UploadedPhoto]
    ) -> list[PhotoAnswer | ProblemError]:
        """Return an answer or a problem for each photo of a request.

        Raises:
            ProblemError: see `PhotoClassifier.classify`; or none of the photos can be used
            ClientGoneError: the client left
        """
        connection = request.state.connection
        found = await self.classifier.classify(
            model, [photo.data for photo in photos], lambda: not connection.is_lost
        )
        self.metrics.count_photos(
            answer.verdict if isinstance(answer, PhotoAnswer) else "refused" for answer in found
        )
        if all(isinstance(answer, ProblemError) for answer in found):
            first = found[0]
            assert isinstance(first, ProblemError)
            raise first
        return found
