"""Photos of many requests that pass through the model together.

While a batch runs, the photos that are ready wait; when it ends, they are the next batch. So a lone
request waits for nobody, a crowd shares the fixed cost of a pass, and there is no delay to tune.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.client.service.classification.served_model import PhotoAnswer, ServedModel
from fedshelf.client.service.requests.problems import ClientGoneError
from fedshelf.common.system.allocator import release_freed_memory

REST_SECONDS = 5.0  # between two times that freed memory is given back, while there are requests


@dataclass(frozen=True)
class _Waiting:
    model: ServedModel
    pixels: NDArray[np.uint8]  # [S, S, C]
    is_wanted: Callable[[], bool]
    answer: asyncio.Future[PhotoAnswer]


class MicroBatcher:
    """Runs batches one after another, in a thread.

    Args:
        max_batch: photos of a batch
        on_batch: called with the number of photos of each batch
    """

    def __init__(self, max_batch: int, on_batch: Callable[[int], object] = lambda _: None) -> None:
        self._max_batch = max_batch
        self._on_batch = on_batch
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self._run: asyncio.Task[None] | None = None
        self._rest: asyncio.TimerHandle | None = None

    async def answer(
        self, model: ServedModel, pixels: NDArray[np.uint8], is_wanted: Callable[[], bool]
    ) -> PhotoAnswer:
        """Return the model's answer for one photo.

        Args:
            model: that the photo was decoded for; photos of two models are never in one batch
            pixels: uint8 [S, S, C]
            is_wanted: False once the client has left; then the photo is dropped from its batch

        Raises:
            ClientGoneError: the client left
            Exception: of the model
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(model, pixels, is_wanted, loop.create_future())
        self._waiting.append(waiting)
        if self._run is None or self._run.done():
            self._run = loop.create_task(self._run_batches())
        if self._rest is None:
            self._rest = loop.call_later(REST_SECONDS, self._release_memory)
        return await waiting.answer

    async def _run_batches(self) -> None:
        """Run batches until nobody waits."""
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            self._on_batch(len(batch))
            pixels = np.stack([waiting.pixels for waiting in batch])
            try:
                answers = await loop.run_in_executor(self._thread, batch[0].model.answers, pixels)
            except Exception as error:
                for waiting in batch:
                    if not waiting.answer.done():
                        waiting.answer.set_exception(error)
                continue
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():  # its request may have ended by its time limit
                    waiting.answer.set_result(answer)

    def _release_memory(self) -> None:
        """Give back what passes and decodes have freed, which the C library keeps by itself."""
        self._rest = None
        release_freed_memory()

    def _next_batch(self) -> list[_Waiting]:
        """Take the next photos of one model that are still wanted."""
        batch: list[_Waiting] = []
        while self._waiting and len(batch) < self._max_batch:
            if batch and self._waiting[0].model is not batch[0].model:
                break
            waiting = self._waiting.popleft()
            if waiting.answer.done():
                continue
            if waiting.is_wanted():
                batch.append(waiting)
            else:
                waiting.answer.set_exception(ClientGoneError())
        return batch
