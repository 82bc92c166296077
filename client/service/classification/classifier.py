"""From the bytes of photos to a model's answers, within bounds."""

import asyncio
import io
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fedshelf.client.service.classification.micro_batcher import MicroBatcher
from fedshelf.client.service.classification.scenes import (
    LocatedPhoto,
    SceneOptions,
    locate_products,
)
from fedshelf.client.service.classification.served_model import PhotoAnswer, ServedModel
from fedshelf.client.service.requests.limits import ServiceLimits
from fedshelf.client.service.requests.problems import ProblemError, busy
from fedshelf.common.images.decoding.limits import SERVICE_LIMITS
from fedshelf.common.images.decoding.picture import picture
from fedshelf.common.inference.explain.occlusion import occlusion
from fedshelf.common.inference.explain.overlay import overlay
from fedshelf.common.inference.predictors.predictor import Predictor

Result = TypeVar("Result")

SCENE_PLACES = 32  # it takes a pass for each tile and product, so four at a time are enough
EXPLANATION_PLACES = 32  # it takes 65 passes, so four at a time are enough
PICTURE_PIXELS = 768  # longer side of a picture that is sent


class PhotoClassifier:
    """Has photos classified and explained, within bounds on their number and time.

    Args:
        limits: of the service
        batcher: decodes photos and runs the batches
    """

    def __init__(self, limits: ServiceLimits, batcher: MicroBatcher) -> None:
        self._limits = limits
        self._batcher = batcher
        self._explainer = ThreadPoolExecutor(1, thread_name_prefix="explain")
        self._scene_reader = ThreadPoolExecutor(1, thread_name_prefix="locate")
        self.photos_held = 0
        self._seconds_per_photo = 0.1  # of late, for the time to tell those who must wait

    async def classify(
        self, model: ServedModel, photos: Sequence[bytes], is_wanted: Callable[[], bool]
    ) -> list[PhotoAnswer | ProblemError]:
        """Return an answer for each photo, or the problem with it.

        Args:
            model: answers
            photos: the files' bytes
            is_wanted: False once the client has left

        Raises:
            ProblemError: 429: there is too much to do already; 503: it took too long
            ClientGoneError: the client left
        """
        with self._places(len(photos)):
            asked = [self._batcher.answer(model, data, is_wanted) for data in photos]
            if len(asked) == 1:  # the usual case, without a task of its own
                return [await self._in_time(asked[0])]
            return await self._in_time(asyncio.gather(*asked))

    async def explain(
        self,
        model: ServedModel,
        data: bytes,
        class_index: int | None,
        is_wanted: Callable[[], bool],
    ) -> bytes:
        """Return a PNG of a photo on which the parts that speak for a class are yellow to red.

        Args:
            model: is explained
            data: the photo's file
            class_index: the class's position; None: the most probable one
            is_wanted: see `classify`

        Raises:
            ProblemError: the photo cannot be used; and see `classify`
            ClientGoneError: the client left
        """
        with self._places(EXPLANATION_PLACES):
            pixels = await self._in_time(self._batcher.decode(model, data, is_wanted))
            loop = asyncio.get_running_loop()
            return await self._in_time(
                loop.run_in_executor(
                    self._explainer, heat_picture, model.predictor, data, pixels, class_index
                )
            )

    async def locate(
        self, model: ServedModel, data: bytes, options: SceneOptions, is_wanted: Callable[[], bool]
    ) -> LocatedPhoto:
        """Return the products on a photo of a scene.

        Args:
            model: has a locator
            data: the photo's file
            options: of the request
            is_wanted: see `classify`

        Raises:
            ProblemError: the photo cannot be used; and see `classify`
            ClientGoneError: the client left
        """
        with self._places(SCENE_PLACES):
            loop = asyncio.get_running_loop()
            return await self._in_time(
                loop.run_in_executor(
                    self._scene_reader, locate_products, model, data, options, is_wanted
                )
            )

    @contextmanager
    def _places(self, photos: int) -> Iterator[None]:
        """Take places for photos until the context ends. Raises ProblemError 429."""
        if self.photos_held + photos > self._limits.max_photos_held:
            raise busy(
                429,
                f"{self.photos_held} photos are waiting already; try again later.",
                self.photos_held * self._seconds_per_photo,
            )
        began = time.monotonic()
        self.photos_held += photos
        held = self.photos_held
        try:
            yield
        finally:
            self.photos_held -= photos
            self._seconds_per_photo += 0.1 * (
                (time.monotonic() - began) / held - self._seconds_per_photo
            )

    async def _in_time(self, work: asyncio.Future[Result]) -> Result:
        """Wait for work, for a bounded time. Raises ProblemError 503."""
        is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = work.cancel()

        # asyncio.timeout does the same for a task, in three times the time
        timer = asyncio.get_running_loop().call_later(self._limits.answer_seconds, give_up)
        try:
            return await work
        except asyncio.CancelledError:
            if not is_late:
                raise
            raise busy(503, "The photos could not be classified in time; try again.", 1) from None
        finally:
            timer.cancel()


def heat_picture(
    predictor: Predictor, data: bytes, pixels: NDArray[np.uint8], class_index: int | None
) -> bytes:
    """Return a PNG of a photo with what speaks for a class over it.

    Args:
        predictor: the model
        data: the photo's file
        pixels: the photo for the model, uint8 [S, S, C]
        class_index: the class's position; None: the most probable one
    """
    if class_index is None:
        class_index = int(predictor.predict(pixels[None].copy()).probabilities[0].argmax())
    heat = occlusion(predictor, pixels, class_index)
    file = io.BytesIO()
    overlay(picture(data, PICTURE_PIXELS, SERVICE_LIMITS), heat).save(file, "PNG")
    return file.getvalue()
